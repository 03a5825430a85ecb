// The processes of a running Pulse, found by what they are; each is signalled by its own id.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { processTree, type RunningPulse, waitFor } from '../../support/pulse.ts';

/** The process that runs the front or the worker now; null while there is none. */
export function partPid(pulse: RunningPulse, part: 'front' | 'worker'): number | null {
  return processTree(pulse.pid).find((pid) => commandLine(pid).includes(`child.ts ${part}`)) ?? null;
}

/** SIGKILL to the front or the worker, as soon as there is one. */
export async function killPart(pulse: RunningPulse, part: 'front' | 'worker'): Promise<void> {
  await waitFor(() => partPid(pulse, part) !== null, { timeoutMs: 20_000, what: () => `a ${part} to kill` });
  process.kill(partPid(pulse, part) as number, 'SIGKILL');
}

export function postmasterPid(dataDirectory: string): number {
  return Number(readFileSync(join(dataDirectory, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

/** Stops every process of Postgres where it stands; the returned function lets them go on. */
export function freezePostgres(dataDirectory: string): () => void {
  const pids = processTree(postmasterPid(dataDirectory));
  for (const pid of pids) signal(pid, 'SIGSTOP');
  return () => {
    for (const pid of pids) signal(pid, 'SIGCONT');
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // A backend may end meanwhile.
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // It is gone.
  }
}
