// What a lane knows of one partition of a valid topic: how far it is stored, and whether something stopped it.
import { type StageOffsets, startOffsets } from '../database/positions.ts';
import type { Database } from '../database/types.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import { storeError } from './errors.ts';
import type { Applied } from './gap.ts';
import { stage } from './stage.ts';

/** What is wrong with a partition, as /readyz and /v1/pipeline show it. */
export interface Trouble {
  /** A `PULSE_…` code. */
  readonly code: string;
  readonly detail: string;
}

export interface PartitionState {
  readonly topic: string;
  readonly partition: number;
  applied: Applied;
  /** Null when all is well; else what stopped it, until it has gone on for a while. */
  trouble: Trouble | null;
  /** True while its records are left alone. */
  isStopped: boolean;
  /** When a partition in trouble is looked at again. */
  recheckAtMs: number;
}

/**
 * Reads how far the partitions of one valid topic are stored. The database is authoritative; the offsets that the group
 * has committed are only a hint for the retention of the log.
 * Shape: one state for each partition asked for. `applied.logOffset` is where reading goes on: behind the last stored
 * record of the newest log, or at the earliest record when nothing of the newest log is stored.
 */
export async function loadPartitions(options: {
  readonly database: Database;
  readonly log: EventLog;
  readonly rawTopic: string;
  readonly topic: string;
  readonly partitions: readonly number[];
}): Promise<PartitionState[]> {
  const { database, log, rawTopic, topic, partitions } = options;
  const bounds = new Map((await log.bounds(topic)).map((entry) => [entry.partition, entry]));
  const { rows } = await database.query<{ epoch: number; partition: number | null } & Partial<StageOffsets>>(
    `SELECT e.epoch, p.partition, p.source_offset AS "sourceOffset", p.log_offset AS "logOffset"
     FROM log_epochs e LEFT JOIN stage_positions p ON p.epoch = e.epoch AND p.stage = $2
     WHERE e.topic = $1 ORDER BY e.epoch`,
    [rawTopic, stage],
  );
  return partitions.map((partition) => {
    const offsets = new Map<number, StageOffsets>(rows.map((row) => [row.epoch, startOffsets]));
    let newest: StageOffsets | null = null;
    const newestEpoch = rows.at(-1)?.epoch;
    for (const row of rows) {
      if (row.partition !== partition) continue;
      const stored = { sourceOffset: row.sourceOffset as number, logOffset: row.logOffset as number };
      offsets.set(row.epoch, stored);
      if (row.epoch === newestEpoch) newest = stored;
    }
    const { earliest, end } = bounds.get(partition) ?? { earliest: 0, end: 0 };
    const logOffset = newest?.logOffset ?? earliest;
    const trouble = logOffset > end ? replaced(topic, partition, logOffset, end) : null;
    const isStopped = trouble !== null;
    return { topic, partition, applied: { offsets, logOffset }, trouble, isStopped, recheckAtMs: 0 };
  });
}

function replaced(topic: string, partition: number, logOffset: number, end: number): Trouble {
  const { code, message } = storeError(
    'PULSE_STORE_LOG_REPLACED',
    `${topic}, partition ${partition}, ends at offset ${end}, but everything below offset ${logOffset} was stored.`,
  );
  return { code, detail: message };
}
