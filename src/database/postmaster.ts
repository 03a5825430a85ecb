// One postmaster as a process: how it is found, started, waited for and ended. It knows nothing of SQL.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { type Cluster, serverEnvironment } from './embedded-cluster.ts';
import { commandAs } from './embedded-identity.ts';
import { databaseError } from './errors.ts';

const run = promisify(execFile);

/**
 * Runs Postgres in the place of the shell, beside a watcher that ends it when this process dies in any way.
 * The watcher holds the reading end of a pipe whose other end only this process has: "done" on it lets the watcher go, its end without a
 * word is our death. The watcher is a grandchild, since Postgres would take the end of a child of its own for a crash.
 */
const SUPERVISED = `
lock=$1
shift
( ( read -r word <&3 || {
    kill -INT $$
    second=0
    while [ -e "$lock" ] && [ $second -lt 20 ]; do sleep 1; second=$((second + 1)); done
    [ -e "$lock" ] && kill -QUIT $$
  } ) >/dev/null 2>&1 & )
exec "$@" 3<&-
`;

/** A postmaster that this process has started. */
export interface Postmaster {
  readonly pid: number;
  /** Settles when it has ended, however that came. */
  readonly ended: Promise<void>;
  /** The end of what it wrote to standard error before its log file was open; at most 8 KiB. */
  readonly output: () => string;
  /** Ends it: fast shutdown, then immediate, then kill. */
  readonly stop: () => Promise<void>;
}

/**
 * Starts a postmaster on a port. Returns once the process runs; `awaitReady` waits until it takes connections.
 * Guarantees: it is in a session of its own (Ctrl-C does not reach it), at the given niceness before it forks, and ends by itself shortly
 * after this process has died.
 */
export function spawnPostmaster(cluster: Cluster, port: number, niceness: number): Postmaster {
  const command = commandAs(cluster.identity, [
    join(cluster.binaries, 'postgres'),
    ...['-D', cluster.directory, '-p', String(port)],
  ]);
  const { argv, ...owner } = command;
  const lock = join(cluster.directory, 'postmaster.pid');
  const child = spawn('sh', ['-c', SUPERVISED, 'sh', lock, 'nice', '-n', String(niceness), ...argv], {
    ...owner,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    detached: true,
    env: serverEnvironment(),
    cwd: '/',
  });
  let output = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-8192);
  });
  const lifeline = child.stdio[3] as NodeJS.WritableStream & { unref?: () => void };
  lifeline.on('error', () => {}); // The watcher may be gone first; it has nothing more to tell.
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      output += error.message;
      resolve();
    });
    child.once('exit', () => {
      lifeline.end('done\n');
      resolve();
    });
  });
  unreference(child);
  const pid = child.pid ?? -1;
  return { pid, ended, output: () => output, stop: () => endProcess(pid, ended) };
}

/** Lets this process end by itself while Postgres runs; the watcher then ends Postgres. */
function unreference(child: ChildProcess): void {
  child.unref();
  for (const stream of child.stdio) (stream as { unref?: () => void } | null)?.unref?.();
}

async function endProcess(pid: number, ended: Promise<unknown>): Promise<void> {
  if (pid <= 0) return;
  for (const [name, waitMs] of [
    ['SIGINT', 20_000],
    ['SIGQUIT', 10_000],
    ['SIGKILL', 10_000],
  ] as const) {
    if (!signal(pid, name)) return;
    if (await settledWithin(ended, waitMs)) return;
  }
}

/** Ends a postmaster that is no child of ours, as endProcess does. */
async function endStranger(pid: number, directory: string): Promise<void> {
  const gone = new AbortController();
  const ended = (async () => {
    while ((await isPostmasterOf(pid, directory)) && !gone.signal.aborted) await sleep(20);
  })();
  try {
    await endProcess(pid, ended);
  } finally {
    gone.abort();
  }
}

async function settledWithin(promise: Promise<unknown>, waitMs: number): Promise<boolean> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      sleep(waitMs, false, { signal: timer.signal }).catch(() => false),
    ]);
  } finally {
    timer.abort();
  }
}

/**
 * Waits until the postmaster takes connections, crash recovery included.
 * Errors: throws a plain Error with the end of its output when it ends before that or `timeoutMs` passes.
 */
export async function awaitReady(
  cluster: Cluster,
  postmaster: Postmaster,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<void> {
  let hasEnded = false;
  void postmaster.ended.then(() => {
    hasEnded = true;
  });
  const deadlineMs = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    if (hasEnded) throw new Error(await lastWords(cluster, postmaster));
    const file = await readPostmasterFile(cluster.directory);
    if (file !== null && file.pid === postmaster.pid && file.status === 'ready') return;
    if (performance.now() > deadlineMs) {
      throw new Error(`not ready after ${options.timeoutMs} ms. ${await lastWords(cluster, postmaster)}`);
    }
    await sleep(10);
  }
}

async function lastWords(cluster: Cluster, postmaster: Postmaster): Promise<string> {
  const names = await readFile(join(cluster.directory, 'current_logfiles'), 'utf8').catch(() => '');
  const name = /^stderr (.+)$/m.exec(names)?.[1];
  const log = name === undefined ? '' : await readFile(join(cluster.directory, name), 'utf8').catch(() => '');
  return `${postmaster.output()}${log.slice(-2048)}`.trim();
}

/** What postmaster.pid says: the process, and `starting`, `ready`, `stopping` or another state. */
export async function readPostmasterFile(
  directory: string,
): Promise<{ readonly pid: number; readonly status: string } | null> {
  const text = await readFile(join(directory, 'postmaster.pid'), 'utf8').catch(() => null);
  if (text === null) return null;
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  return Number.isSafeInteger(pid) && pid > 1 ? { pid, status: lines[7]?.trim() ?? '' } : null;
}

/**
 * Makes the directory this process's own: refuses when the process that started its postmaster is alive, and ends a
 * postmaster that outlived the process that started it.
 * Errors: PULSE_DATABASE_IN_USE.
 */
export async function takeOver(directory: string, logger: Logger): Promise<void> {
  const ownerFile = ownerFileOf(directory);
  const owner = (await readFile(ownerFile, 'utf8').catch(() => '')).trim();
  const [ownerPid = '', ...start] = owner.split(' ');
  const ownerIsAlive = owner !== '' && (await startOf(Number(ownerPid))) === start.join(' ');
  const running = await readPostmasterFile(directory);
  const isOurs = running !== null && (await isPostmasterOf(running.pid, directory));
  if (ownerIsAlive && (isOurs || Number(ownerPid) !== process.pid)) {
    throw databaseError(
      'PULSE_DATABASE_IN_USE',
      `The process ${ownerPid} already runs the database in '${directory}'.`,
      { details: { pid: Number(ownerPid) } },
    );
  }
  if (isOurs) {
    logger.warn({ pid: running.pid }, 'ending a Postgres that an earlier run left behind');
    await endStranger(running.pid, directory);
  } else if (running !== null && isAlive(running.pid)) {
    await disownPostmasterFile(directory);
  }
  await writeFile(ownerFile, `${process.pid} ${await startOf(process.pid)}\n`, { mode: 0o600 });
}

/** Lets another process take the directory over. */
export async function letGo(directory: string): Promise<void> {
  await rm(ownerFileOf(directory), { force: true });
}

/** Says which process started the server; beside the data directory, whose files are Postgres's own. */
function ownerFileOf(directory: string): string {
  return `${directory}-owner`;
}

/**
 * The number in postmaster.pid is by now that of a stranger, for which Postgres would refuse to start. The file itself must stay: it names
 * the shared memory that left-over backends may still use. Postgres ignores the number of its own parent, so that is put in.
 */
async function disownPostmasterFile(directory: string): Promise<void> {
  const path = join(directory, 'postmaster.pid');
  const lines = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, [process.pid, ...lines.slice(1)].join('\n'));
}

/** When a process was started, in any form that differs between two processes with one number; '' when there is none. */
async function startOf(pid: number): Promise<string> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return '';
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    // Field 22; the name in field 2 may hold spaces and brackets. A zombie counts as ended.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : (fields[19] ?? '');
  }
  const listed = await run('ps', ['-o', 'lstart=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return listed.stdout.trim();
}

/** True when the process is a postmaster of this very directory. A postmaster works inside its data directory. */
export async function isPostmasterOf(pid: number, directory: string): Promise<boolean> {
  if (!isAlive(pid)) return false;
  if (process.platform === 'linux') {
    const workingDirectory = await readlink(`/proc/${pid}/cwd`).catch(() => '');
    return workingDirectory === directory;
  }
  const listed = await run('ps', ['-o', 'args=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return listed.stdout.includes('postgres') && listed.stdout.includes(directory);
}

function isAlive(pid: number): boolean {
  return signal(pid, 0);
}

/** Sends a signal; false when the process does not exist any more. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
