// Lower priority for the backends of Postgres, so that accepting events comes first.
import { readFile, writeFile } from 'node:fs/promises';

/** How often new backends are looked for. They live for minutes, so a second at normal priority does not matter. */
const SCAN_INTERVAL_MS = 1_000;

/**
 * Where the host has autogroups, niceness counts only among the processes of one session, so that of the session is lowered.
 * Returns false when it should be tried again: the kernel takes one change each 100 ms from a plain user.
 */
async function lowerAutogroup(pid: number, niceness: number): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  try {
    await writeFile(`/proc/${pid}/autogroup`, String(niceness), { flag: 'r+' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EAGAIN';
  }
}

/**
 * Keeps the backends of a postmaster at the niceness: each one is a session, and so an autogroup, of its own.
 * Does nothing where the kernel has no autogroups, as the niceness itself is inherited. Returns what ends it.
 */
export function keepPriorityLow(postmasterPid: number, niceness: number): () => void {
  if (process.platform !== 'linux') return () => {};
  let done = new Set<number>();
  let isScanning = false;
  const scan = async (): Promise<void> => {
    const children = await readFile(`/proc/${postmasterPid}/task/${postmasterPid}/children`, 'utf8');
    const next = new Set<number>();
    for (const pid of [postmasterPid, ...children.split(' ').filter(Boolean).map(Number)]) {
      if (done.has(pid) || (await lowerAutogroup(pid, niceness))) next.add(pid);
    }
    done = next;
  };
  const timer = setInterval(() => {
    if (isScanning) return;
    isScanning = true;
    scan()
      .catch(() => clearInterval(timer)) // The postmaster is gone, or this kernel does not list children.
      .finally(() => {
        isScanning = false;
      });
  }, SCAN_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}
