// Where a partition goes on after a start: found from the database, the valid topic and the commit hint, trusting none alone.
import { cloudEventsHeaderPrefix, header } from '../core/envelope.ts';
import { type Position, parsePosition } from '../core/position.ts';
import type { StageOffsets } from '../database/positions.ts';
import type { Database } from '../database/types.ts';
import type { EventLog, StoredRecord } from '../ports/event-log/event-log.ts';
import { processError } from './errors.ts';
import { type LedgerEntry, ledgerSource, restoreOwners } from './steps/claim.ts';
import type { TopicSet } from './topic-set.ts';

/** What was routed of a partition. */
export interface Routing {
  /** Records at or below it were routed already: they are claimed and counted again, never appended again. */
  routedThrough: number;
  /** Position of the last record in the valid partition; null when none is there. */
  previous: Position | null;
}

/**
 * The restart rule. `claimedThrough`: the position's raw offset; `hint`: the committed offset of the group;
 * `emitted`: the raw position of the last record in the valid partition; `end`: the next offset of the raw partition.
 * Guarantees: starts at min(claimedThrough, max(hint − 1, emitted)) + 1. A lost hint only repeats work; a database older than the
 * log only claims and counts again what the log holds already.
 * Errors: PULSE_PROCESS_LOG_REPLACED when the raw partition ends before what was done: new records would get old positions.
 */
export function restartPoint(known: {
  readonly topic: string;
  readonly epoch: number;
  readonly claimedThrough: number;
  readonly hint: number;
  readonly emitted: Position | null;
  readonly end: number;
}): { readonly startOffset: number; readonly state: Routing } {
  const { claimedThrough, emitted, end } = known;
  // A record of an earlier epoch says nothing about offsets of this one.
  const emittedOffset = emitted?.epoch === known.epoch ? emitted.offset : -1;
  if (Math.max(claimedThrough, emittedOffset) >= end) {
    throw processError(
      'PULSE_PROCESS_LOG_REPLACED',
      `${known.topic} ends at offset ${end}, but offset ${Math.max(claimedThrough, emittedOffset)} was processed.`,
      { details: { topic: known.topic } },
    );
  }
  const routedThrough = Math.max(known.hint - 1, emittedOffset);
  return {
    startOffset: Math.min(claimedThrough, routedThrough) + 1,
    state: { routedThrough, previous: emitted },
  };
}

/**
 * The raw position of the last record in a valid partition; null when the partition holds no record (any more).
 * Errors: PULSE_PROCESS_VALID_RECORD_INVALID when a stranger wrote it.
 */
export async function lastEmitted(log: EventLog, topic: string, partition: number): Promise<Position | null> {
  const bounds = (await log.bounds(topic)).find((one) => one.partition === partition);
  if (bounds === undefined || bounds.end <= bounds.earliest) return null;
  // Offsets of some engines have holes (transaction markers): step back until a record is met.
  for (let back = 1; ; back *= 2) {
    const from = Math.max(bounds.earliest, bounds.end - back);
    const records = await log.read(topic, partition, from, { recordsMax: back, bytesMax: 4 * 1_048_576 });
    const last = await lastOf(log, topic, partition, records);
    if (last !== undefined) return sourceOf(last, topic);
    if (from === bounds.earliest) return null;
  }
}

/** The last record from these on: a read may have stopped early by bytes. */
async function lastOf(
  log: EventLog,
  topic: string,
  partition: number,
  records: readonly StoredRecord[],
): Promise<StoredRecord | undefined> {
  let last = records.at(-1);
  for (let next = records; next.length > 0; ) {
    last = next.at(-1) as StoredRecord;
    next = await log.read(topic, partition, last.offset + 1, { recordsMax: 1000, bytesMax: 4 * 1_048_576 });
  }
  return last;
}

function sourceOf(record: StoredRecord, topic: string): Position {
  const text = record.headers[header.sourcePosition] ?? '';
  const source = parsePosition(text);
  if (source !== null && source.partition === record.partition) return source;
  throw processError(
    'PULSE_PROCESS_VALID_RECORD_INVALID',
    `The record at ${topic} partition ${record.partition} offset ${record.offset} names the source '${text.slice(0, 40)}'.`,
  );
}

/**
 * Gives the ledger back what it lost: when the database is older than the log (restored from a backup), records in the valid topic
 * own their ids although the ledger does not know it. Must run for all partitions before any of them claims, or an id
 * that was emitted from one partition could win again in another.
 * Returns the number of records that were looked at; 0 in every ordinary start.
 */
export async function restoreLedger(
  dependencies: { readonly log: EventLog; readonly database: Database },
  set: TopicSet,
  positions: (partition: number) => StageOffsets,
): Promise<number> {
  const { log, database } = dependencies;
  let restored = 0;
  for (let partition = 0; partition < set.partitions; partition++) {
    const claimedThrough = positions(partition).sourceOffset;
    const emitted = await lastEmitted(log, set.names.valid, partition);
    if (emitted === null || emitted.epoch !== set.epoch || emitted.offset <= claimedThrough) continue;
    let offset = await firstBeyond(log, set, partition, claimedThrough);
    for (;;) {
      const records = await log.read(set.names.valid, partition, offset, {
        recordsMax: 1000,
        bytesMax: 4 * 1_048_576,
      });
      if (records.length === 0) break;
      await restoreOwners(
        database,
        records.map((record) => entryOf(record, set.names.valid)),
      );
      restored += records.length;
      offset = (records.at(-1) as StoredRecord).offset + 1;
    }
  }
  return restored;
}

/** Offset of the first valid record whose source lies beyond `claimedThrough`; sources rise, so halving finds it. */
async function firstBeyond(
  log: EventLog,
  set: TopicSet,
  partition: number,
  claimedThrough: number,
): Promise<number> {
  const topic = set.names.valid;
  const bounds = (await log.bounds(topic)).find((one) => one.partition === partition);
  let low = bounds?.earliest ?? 0;
  let high = bounds?.end ?? 0;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    const [record] = await log.read(topic, partition, middle, { recordsMax: 1, bytesMax: 1 });
    const source = record === undefined ? null : sourceOf(record, topic);
    const isBeyond = source === null || (source.epoch === set.epoch && source.offset > claimedThrough);
    if (isBeyond) high = middle;
    else low = middle + 1;
  }
  return low;
}

function entryOf(record: StoredRecord, topic: string): LedgerEntry {
  const { headers } = record;
  const isNative = headers[header.protocol] === 'native';
  return {
    tenantId: headers[header.tenant] ?? '',
    eventId: headers[header.id] ?? '',
    eventSource: isNative ? '' : ledgerSource(headers[`${cloudEventsHeaderPrefix}source`] ?? ''),
    position: sourceOf(record, topic),
  };
}
