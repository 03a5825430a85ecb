// Places where a test lets a process die. In ordinary runs each costs one comparison with null and does nothing.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Every place, in the order in which an event meets them. */
export const failpointNames = [
  'collect.authenticated',
  'collect.body_read',
  'collect.key_begun',
  'collect.before_append',
  'collect.appended',
  'collect.key_stored',
  'collect.answered',
  'collect.keys_rebuilt',
  'log.group_written',
  'log.group_synced',
  'log.group_published',
  'log.segment_synced',
  'log.segment_named',
  'log.tail_recovered',
  'log.offsets_written',
  'log.offsets_named',
  'process.opened',
  'process.polled',
  'process.claim_written',
  'process.claimed',
  'process.dead_letters_appended',
  'process.valid_appended',
  'process.hinted',
  'dead_letters.before_insert',
  'dead_letters.inserted',
  'dead_letters.committed',
  'store.before_partition',
  'store.before_insert',
  'store.inserted',
  'store.committed',
  'repair.before_send',
  'repair.sent',
  'repair.appended',
  'repair.settled',
  'database.before_commit',
  'database.committed',
  'migrate.applied',
  'supervisor.migrated',
  'supervisor.worker_started',
] as const;

export type FailpointName = (typeof failpointNames)[number];

/** The processes of Pulse. */
export type FailpointPart = 'front' | 'worker' | 'supervisor';

/** One entry of PULSE_TEST_FAILPOINT: `<part>/<name>:<hit>:kill|throw`. */
const entryPattern = new RegExp(
  `^(front|worker|supervisor)/(${failpointNames.join('|').replaceAll('.', '\\.')}):([1-9]\\d{0,5}):(kill|throw)$`,
);

/** Entries separated by commas; '' for none. */
export const failpointsPattern = new RegExp(
  `^(${entryPattern.source.slice(1, -1)}(,${entryPattern.source.slice(1, -1)})*)?$`,
);

interface Armed {
  readonly entries: readonly string[];
  readonly firedFile: string;
  next: number;
  hits: number;
}

let armed: Armed | null = null;

/**
 * Arms the entries of one part, one after the other: the next one once the one before has fired, in this process or in an earlier one
 * with the same data directory. Each that fires is first written to `<data directory>/failpoints-fired`.
 */
export function armFailpoints(part: FailpointPart, setting: string, dataDirectory: string): void {
  const own = (entry: string): boolean => entry.startsWith(`${part}/`);
  const entries = setting.split(',').filter(own);
  if (entries.length === 0) return;
  const firedFile = join(dataDirectory, 'failpoints-fired');
  const fired = readFired(firedFile).filter(own).length;
  armed = fired < entries.length ? { entries, firedFile, next: fired, hits: 0 } : null;
}

function readFired(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** A place where a test may let this process die. Does nothing unless PULSE_TEST_FAILPOINT names it. */
export function failpoint(name: FailpointName): void {
  if (armed !== null) hit(armed, name);
}

function hit(state: Armed, name: FailpointName): void {
  const entry = state.entries[state.next] as string;
  const [, , wanted, count, action] = entryPattern.exec(entry) ?? [];
  if (wanted !== name || ++state.hits < Number(count)) return;
  appendFileSync(state.firedFile, `${entry}\n`);
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  state.next++;
  state.hits = 0;
  if (state.next >= state.entries.length) armed = null;
  throw new Error(`failpoint ${name}`);
}
