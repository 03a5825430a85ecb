// Processes that benchmarks start: servers that print their port and end with their standard input, and a whole Pulse.
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { frontNodeOptions } from '../../src/server/config.ts';

const root = resolve(import.meta.dirname, '..', '..');
const readyTimeoutMs = 90_000;
const stopTimeoutMs = 60_000;

export interface Server {
  readonly origin: string;
  /** CPU time of the process so far in µs, user and system; NaN where /proc is missing. */
  cpuUs(): number;
  stop(): Promise<void>;
}

/** Starts a script of bench/servers in its own process and waits for its port. */
export async function startServer(script: string, arguments_: readonly string[]): Promise<Server> {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(
    process.execPath,
    // The floor gets the front's options too: the ratio is about our code, not about the size of V8's heap.
    [...frontNodeOptions, join(root, 'bench', 'servers', script), ...arguments_],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const [first] = (await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(([code]) => {
      throw new Error(`${script} ended with code ${String(code)} before it listened`);
    }),
  ])) as [Buffer];
  return {
    origin: `http://127.0.0.1:${first.toString().trim()}`,
    cpuUs: () => cpuUsOf(child.pid as number),
    stop: async () => {
      child.stdin.end();
      await ended(child);
    },
  };
}

export interface RunningPulse extends Server {
  readonly adminToken: string;
}

/** Starts a whole Pulse on its own port and waits until it is ready. Its log goes to `<data directory>.log`. */
export async function startPulse(
  dataDirectory: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<RunningPulse> {
  const port = await freePort();
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('PULSE_')),
  );
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts'), 'start'], {
    cwd: root,
    env: {
      ...inherited,
      PULSE_DATA_DIR: dataDirectory,
      PULSE_PORT: String(port),
      PULSE_LOG_LEVEL: 'warn',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await printed(child, 'Pulse is ready');
  return {
    origin: `http://127.0.0.1:${port}`,
    adminToken: readFileSync(join(dataDirectory, 'admin-token'), 'utf8').trim(),
    cpuUs: () => cpuUsOf(child.pid as number),
    stop: async () => {
      child.kill('SIGTERM');
      await ended(child);
    },
  };
}

async function printed(child: ChildProcess, text: string): Promise<void> {
  let output = '';
  await new Promise<void>((done, failed) => {
    const timer = setTimeout(() => {
      child.kill('SIGTERM');
      failed(new Error(`no '${text}' within ${readyTimeoutMs} ms:\n${output}`));
    }, readyTimeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-10_000);
      if (!output.includes(text)) return;
      clearTimeout(timer);
      done();
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      failed(new Error(`Pulse ended with code ${String(code)}:\n${output}`));
    });
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await once(child, 'exit');
  clearTimeout(timer);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** CPU time of a process from /proc, in µs; clock ticks are 10 ms on every Linux that Node runs on. */
function cpuUsOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program stands in parentheses and may hold spaces.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return Number.NaN; // no /proc on this system, or the process is gone
  }
}
