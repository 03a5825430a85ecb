// The three topics that belong together, opened: what the loop must know of them before it reads the first record.
import { epochOf } from '../database/epochs.ts';
import type { Database } from '../database/types.ts';
import type { EventLog, TopicInfo } from '../ports/event-log/event-log.ts';
import type { Directory, TopicNames } from '../tenancy/types.ts';
import { processError } from './errors.ts';
import type { TopicFacts } from './steps/identify.ts';

/** Raw topic with its valid and dead-letter topics; all exist. */
export interface TopicSet {
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
  set: { readonly tenantId: string | null; readonly names: TopicNames },
): Promise<TopicSet | null> {
  const { log, database, directory } = dependencies;
  const raw = await log.describeTopic(set.names.raw);
  const valid = await log.describeTopic(set.names.valid);
  const dlq = await log.describeTopic(set.names.dlq);
  if (raw === null || valid === null || dlq === null) return null;
  checkPartitions(raw, valid);
  return {
    names: set.names,
    partitions: raw.partitions,
    deadLetterPartitions: dlq.partitions,
    facts: {
      epoch: await epochOf(database, raw),
      ownerId: set.tenantId,
      tenantOf: (tenantId) => directory.tenant(tenantId),
    },
  };
}

function checkPartitions(raw: TopicInfo, valid: TopicInfo): void {
  if (raw.partitions === valid.partitions) return;
  throw processError(
    'PULSE_PROCESS_TOPICS_MISMATCHED',
    `${raw.topic} has ${raw.partitions} partitions and ${valid.topic} has ${valid.partitions}.`,
  );
}
