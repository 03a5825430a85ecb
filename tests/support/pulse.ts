// Starts a real Pulse (supervisor, front, worker, Postgres) in its own data directory and port, for tests from outside.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';

const root = resolve(import.meta.dirname, '..', '..');
const readyTimeoutMs = 60_000;

export interface RunningPulse {
  /** Of the supervisor. */
  readonly pid: number;
  readonly url: string;
  readonly dataDirectory: string;
  readonly adminToken: string;
  readonly demoKey: string;
  /** What the processes wrote so far. */
  output(): string;
  /** Calls the API with the demo key, or the given credential. */
  get(path: string, credential?: string): Promise<{ status: number; body: unknown }>;
  post(
    path: string,
    body: unknown,
    options?: { credential?: string; headers?: Record<string, string> },
  ): Promise<{
    status: number;
    body: unknown;
    headers: Headers;
  }>;
  /** Sends SIGTERM and waits for a clean end; resolves to the exit code. */
  stop(): Promise<number | null>;
  /** Ends every process of this Pulse at once with SIGKILL: supervisor, front, worker and Postgres. */
  kill(): Promise<void>;
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  return await new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** A data directory that is removed when the test ends. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pulse-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
  return directory;
}

/** Runs `pulse <arguments>` to its end. */
export async function runPulse(
  arguments_: readonly string[],
  environment: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const child = spawnPulse(arguments_, environment);
  const output = collectOutput(child);
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, output: output() };
}

function spawnPulse(arguments_: readonly string[], environment: Record<string, string>): ChildProcess {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('PULSE_')),
  );
  return spawn(process.execPath, [join(root, 'src', 'main.ts'), ...arguments_], {
    cwd: root,
    env: { ...inherited, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function collectOutput(child: ChildProcess): () => string {
  const chunks: string[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  return () => chunks.join('');
}

/** Starts Pulse and waits until it says that it is ready. */
export async function startPulse(
  t: TestContext,
  options: { dataDirectory: string; port?: number; environment?: Record<string, string> },
): Promise<RunningPulse> {
  const port = options.port ?? (await freePort());
  const environment = {
    PULSE_DATA_DIR: options.dataDirectory,
    PULSE_PORT: String(port),
    ...options.environment,
  };
  const child = spawnPulse(['start'], environment);
  const output = collectOutput(child);
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const running = makeRunning(child, output, exited, options.dataDirectory, `http://127.0.0.1:${port}`);
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) await running.kill();
  });
  await waitFor(() => output().includes('Pulse is ready'), {
    timeoutMs: readyTimeoutMs,
    what: () => `Pulse to be ready; it wrote:\n${output()}`,
    stopped: () => child.exitCode !== null || child.signalCode !== null,
  });
  return running;
}

function makeRunning(
  child: ChildProcess,
  output: () => string,
  exited: Promise<number | null>,
  dataDirectory: string,
  url: string,
): RunningPulse {
  const kept = (name: string): string => readFileSync(join(dataDirectory, name), 'utf8').trim();
  const call = async (path: string, init: RequestInit & { headers: Record<string, string> }) => {
    const response = await fetch(`${url}${path}`, { ...init, signal: AbortSignal.timeout(30_000) });
    const text = await response.text();
    const isJson = (response.headers.get('content-type') ?? '').includes('json');
    return {
      status: response.status,
      body: isJson ? (JSON.parse(text) as unknown) : text,
      headers: response.headers,
    };
  };
  return {
    pid: child.pid ?? -1,
    url,
    dataDirectory,
    output,
    get adminToken() {
      return kept('admin-token');
    },
    get demoKey() {
      return kept('demo-key');
    },
    get: (path, credential) => call(path, { headers: { 'x-api-key': credential ?? kept('demo-key') } }),
    post: (path, body, request = {}) =>
      call(path, {
        method: 'POST',
        headers: {
          'x-api-key': request.credential ?? kept('demo-key'),
          'content-type': 'application/json',
          ...request.headers,
        },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    stop: async () => {
      child.kill('SIGTERM');
      return await exited;
    },
    kill: async () => {
      const pids = child.pid === undefined ? [] : processTree(child.pid);
      for (const pid of pids) endProcess(pid);
      await exited;
      await waitFor(() => pids.every((pid) => !isAlive(pid)), {
        timeoutMs: 10_000,
        what: () => `processes ${pids.join(', ')} to be gone`,
      });
    },
  };
}

/** The process and all below it, parents first, read from /proc. */
export function processTree(pid: number): number[] {
  const found = [pid];
  for (let i = 0; i < found.length; i++) found.push(...childrenOf(found[i] as number));
  return found;
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return []; // the process is gone already
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** False also for a zombie that nobody has reaped yet. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Polls until the condition holds. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  options: { timeoutMs: number; what: () => string; stopped?: () => boolean },
): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  while (!(await condition())) {
    if (options.stopped?.() === true)
      throw new Error(`the process ended while waiting for ${options.what()}`);
    if (performance.now() > deadline) throw new Error(`waited ${options.timeoutMs} ms for ${options.what()}`);
    await new Promise((resume) => setTimeout(resume, 25));
  }
}
