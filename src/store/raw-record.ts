// Reads a raw record back by its position.

import { hasCode } from '../core/errors.ts';
import type { Position } from '../core/position.ts';
import type { StoredRecord } from '../ports/event-log/event-log.ts';
import type { StoreRouteDependencies } from './access.ts';

/** What became of a position. */
export type RawRecord =
  | { readonly kind: 'found'; readonly topic: string; readonly record: StoredRecord }
  /** The record was there, and retention or a new log has removed it. */
  | { readonly kind: 'gone'; readonly topic: string }
  /** No record ever had this position. */
  | { readonly kind: 'never' };

/** Reads the raw record at a position. Errors: PULSE_LOG_CORRUPT; those of Database. */
export async function readRawRecord(
  dependencies: Pick<StoreRouteDependencies, 'database' | 'log'>,
  position: Position,
): Promise<RawRecord> {
  const { database, log } = dependencies;
  const { rows } = await database.query<{ topic: string; incarnation: string }>(
    'SELECT topic, incarnation FROM log_epochs WHERE epoch = $1::bigint',
    [position.epoch],
  );
  const epoch = rows[0];
  if (epoch === undefined) return { kind: 'never' };
  const { topic } = epoch;
  const info = await log.describeTopic(topic);
  if (info === null || info.incarnation !== epoch.incarnation) return { kind: 'gone', topic };
  if (position.partition >= info.partitions) return { kind: 'never' };
  try {
    const [record] = await log.read(topic, position.partition, position.offset, {
      recordsMax: 1,
      bytesMax: 1,
    });
    return record?.offset === position.offset ? { kind: 'found', topic, record } : { kind: 'never' };
  } catch (error) {
    if (hasCode(error, 'PULSE_LOG_OFFSET_LOST')) return { kind: 'gone', topic };
    throw error;
  }
}
