// What `pulse log` shows of the embedded log on disk. It reads as any consumer may, so it is safe beside a running Pulse.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PulseError } from '../core/errors.ts';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import { groupsDirectory, topicsDirectory } from '../ports/event-log/embedded/topic-files.ts';
import { createLogger } from '../telemetry/logger.ts';
import { cliError } from './errors.ts';

/** One partition of a topic. */
export interface PartitionFacts {
  readonly topic: string;
  readonly partition: number;
  readonly earliest: number;
  readonly end: number;
}

/** What reading a partition from its first to its last record found. */
export interface PartitionVerdict extends PartitionFacts {
  readonly records: number;
  readonly bytes: number;
  /** Why reading stopped early; null when every record is whole. */
  readonly problem: string | null;
}

/** How far a group is behind on a topic. */
export interface GroupFacts {
  readonly group: string;
  readonly topic: string;
  readonly lag_records: number;
  readonly lag_ms: number;
}

const readRecordsMax = 20_000;
const readBytesMax = 16 * 1024 * 1024;

/** Opens the log for `work` and closes it. Errors: PULSE_CLI_INPUT_UNREADABLE when there is no log. */
export async function withLog<Result>(
  directory: string,
  work: (log: EmbeddedEventLog) => Promise<Result>,
): Promise<Result> {
  if (names(topicsDirectory(directory)).length === 0) {
    throw cliError('PULSE_CLI_INPUT_UNREADABLE', `There is no event log in '${directory}'.`);
  }
  const log = await createEmbeddedEventLog({
    directory,
    logger: createLogger({ level: 'error', process: 'log' }),
  });
  try {
    return await work(log);
  } finally {
    await log.close();
  }
}

/** Names of the topics, or only `wanted`. Errors: PULSE_CLI_INPUT_UNREADABLE when there is no such topic. */
export function topicNames(directory: string, wanted: string | undefined): readonly string[] {
  const all = names(topicsDirectory(directory));
  if (wanted === undefined) return all;
  if (all.includes(wanted)) return [wanted];
  throw cliError('PULSE_CLI_INPUT_UNREADABLE', `There is no topic '${wanted}'; there are ${all.join(', ')}.`);
}

/** Names of the consumer groups. */
export function groupNames(directory: string): readonly string[] {
  return names(groupsDirectory(directory));
}

function names(directory: string): string[] {
  try {
    // Names that begin with a dot are folders in the making.
    return readdirSync(directory)
      .filter((name) => !name.startsWith('.'))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export async function inspect(
  log: EmbeddedEventLog,
  topics: readonly string[],
): Promise<readonly PartitionFacts[]> {
  const facts: PartitionFacts[] = [];
  for (const topic of topics) {
    for (const bounds of await log.bounds(topic)) facts.push({ topic, ...bounds });
  }
  return facts;
}

/**
 * Reads every record from the first to the end as it was at the start; every checksum on the way is checked.
 * Guarantees: a damaged partition is a verdict, not an error, and does not keep the others from being read.
 */
export async function verify(log: EmbeddedEventLog, facts: PartitionFacts): Promise<PartitionVerdict> {
  let offset = facts.earliest;
  let records = 0;
  let bytes = 0;
  try {
    while (offset < facts.end) {
      const options = { recordsMax: readRecordsMax, bytesMax: readBytesMax };
      const batch = await log.read(facts.topic, facts.partition, offset, options);
      const last = batch.at(-1);
      if (last === undefined)
        return { ...facts, records, bytes, problem: `nothing can be read at offset ${offset}` };
      records += batch.length;
      for (const record of batch) bytes += record.value.length;
      offset = last.offset + 1;
    }
    return { ...facts, records, bytes, problem: null };
  } catch (error) {
    if (!(error instanceof PulseError)) throw error;
    return { ...facts, records, bytes, problem: `${error.code}: ${error.message}` };
  }
}

export async function consumers(
  log: EmbeddedEventLog,
  groups: readonly string[],
  topics: readonly string[],
): Promise<readonly GroupFacts[]> {
  const facts: GroupFacts[] = [];
  for (const group of groups) {
    for (const topic of topics) {
      const lags = await log.lag(group, topic);
      // A group that never committed on a topic does not read it.
      if (lags.every((lag) => lag.committed === 0)) continue;
      facts.push({
        group,
        topic,
        lag_records: lags.reduce((sum, lag) => sum + lag.lagRecords, 0),
        lag_ms: Math.max(...lags.map((lag) => lag.lagMs)),
      });
    }
  }
  return facts;
}

export function logDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'log');
}
