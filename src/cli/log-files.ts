// What `pulse log` shows of the embedded log on disk. It reads as any consumer may, so it is safe beside a running Pulse.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
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

/** How far a group is behind on a topic. */
export interface GroupFacts {
  readonly group: string;
  readonly topic: string;
  readonly lag_records: number;
  readonly lag_ms: number;
}

/** Opens the log for `work` and closes it. Errors: PULSE_CLI_INPUT_UNREADABLE when there is no log. */
export async function withLog<Result>(
  directory: string,
  work: (log: EmbeddedEventLog) => Promise<Result>,
): Promise<Result> {
  if (names(topicsDirectory(directory)).length === 0) throw noLog(directory);
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

/** The error of a directory that holds no event log. */
export function noLog(directory: string): Error {
  return cliError('PULSE_CLI_INPUT_UNREADABLE', `There is no event log in '${directory}'.`);
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
