// The three topics that belong together, opened: what the loop must know of them before it reads the first record.
import { epochOf } from '../database/epochs.ts';
import type { Database } from '../database/types.ts';
import type { EventLog, TopicInfo } from '../ports/event-log/event-log.ts';
import type { Directory, TopicNames } from '../tenancy/types.ts';
import { processError } from './errors.ts';
import type { Source } from './loop/partition.ts';
import type { WantedTopics } from './loop/supervisor.ts';
import type { TopicFacts } from './steps/identify.ts';

/** Raw topic with its valid and dead-letter topics; all exist. */
export interface TopicSet extends Source {
  readonly names: TopicNames;
  readonly partitions: number;
  readonly deadLetterPartitions: number;
  readonly facts: TopicFacts;
}

/**
 * Opens a set of topics; null while one of them does not exist yet.
 * Errors: PULSE_PROCESS_TOPICS_MISMATCHED when raw and valid have not the same partitions.
 */
export async function openTopicSet(
  dependencies: {
    readonly log: Pick<EventLog, 'describeTopic'>;
    readonly database: Database;
    readonly directory: Pick<Directory, 'tenant'>;
  },
  { tenantId, names }: WantedTopics,
): Promise<TopicSet | null> {
  const { log, database, directory } = dependencies;
  const raw = await log.describeTopic(names.raw);
  const valid = await log.describeTopic(names.valid);
  const dlq = await log.describeTopic(names.dlq);
  if (raw === null || valid === null || dlq === null) return null;
  checkPartitions(raw, valid);
  const epoch = await epochOf(database, raw);
  return {
    topic: names.raw,
    epoch,
    topics: [names.raw, names.valid, names.dlq],
    names,
    partitions: raw.partitions,
    deadLetterPartitions: dlq.partitions,
    facts: { epoch, ownerId: tenantId, tenantOf: (id) => directory.tenant(id) },
  };
}

function checkPartitions(raw: TopicInfo, valid: TopicInfo): void {
  if (raw.partitions === valid.partitions) return;
  throw processError(
    'PULSE_PROCESS_TOPICS_MISMATCHED',
    `${raw.topic} has ${raw.partitions} partitions and ${valid.topic} has ${valid.partitions}.`,
  );
}
