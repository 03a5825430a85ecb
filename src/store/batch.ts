// Turns records of the valid topic into what one transaction needs: rows, tenants, days, counts and the next positions.
// The hot path of the store: it reads headers only and never parses a value.
import { header } from '../core/envelope.ts';
import { PulseError } from '../core/errors.ts';
import { type Position, parsePosition } from '../core/position.ts';
import type { StageOffsets } from '../database/positions.ts';
import type { PartitionBatch, StoredRecord } from '../ports/event-log/event-log.ts';
import { storeError } from './errors.ts';
import { type Applied, judge } from './gap.ts';

/** A record that the gap rule lets through. */
export interface Row {
  readonly source: Position;
  readonly tenantId: string;
  readonly eventId: string;
  readonly eventType: string;
  /** ISO 8601 UTC with milliseconds. */
  readonly receivedAt: string;
  /** Valid topic and its partition. */
  readonly topic: string;
  readonly partition: number;
  /** The canonical envelope. */
  readonly value: Buffer;
}

/** Where a partition stands before and after a batch. */
export interface Step {
  readonly topic: string;
  readonly partition: number;
  /** The rows of stage_positions to move: one for each epoch that occurs, in order. */
  readonly moves: readonly Move[];
  /** The partition's state once the moves have taken effect. */
  readonly next: Applied;
}

interface Move {
  readonly epoch: number;
  readonly expected: StageOffsets;
  readonly next: StageOffsets;
}

/** What became of the records of one partition. */
export interface Judged {
  readonly rows: readonly Row[];
  /** Without moves when every record was a repeat or the first one stopped the partition. */
  readonly step: Step;
  readonly repeats: number;
  /** What stops the partition after these rows; null when nothing does. */
  readonly problem: PulseError | null;
}

/**
 * Judges the records of one partition against what is in effect.
 * Guarantees: rows keep the order of the log; nothing behind a problem is let through.
 */
export function judgeBatch(batch: PartitionBatch, applied: Applied): Judged {
  const rows: Row[] = [];
  const offsets = new Map(applied.offsets);
  const moves = new Map<number, Move>();
  let logOffset = applied.logOffset;
  let repeats = 0;
  let problem: PulseError | null = null;
  for (const record of batch.records) {
    const read = readRow(record, batch);
    const verdict =
      read instanceof PulseError
        ? read
        : judge(
            { offset: record.offset, source: read.row.source, previous: read.previous },
            { offsets, logOffset },
          );
    if (read instanceof PulseError || verdict instanceof PulseError) {
      problem = verdict as PulseError;
      break;
    }
    logOffset = Math.max(logOffset, record.offset + 1);
    if (verdict === 'repeat') {
      repeats++;
      continue;
    }
    rows.push(read.row);
    const { epoch, offset } = read.row.source;
    const expected = moves.get(epoch)?.expected ?? (offsets.get(epoch) as StageOffsets);
    const next = { sourceOffset: offset, logOffset };
    offsets.set(epoch, next);
    moves.set(epoch, { epoch, expected, next });
  }
  const { topic, partition } = batch;
  const step: Step = { topic, partition, moves: [...moves.values()], next: { offsets, logOffset } };
  return { rows, step, repeats, problem };
}

const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function readRow(
  record: StoredRecord,
  batch: PartitionBatch,
): { readonly row: Row; readonly previous: Position | null } | PulseError {
  const { headers } = record;
  const source = parsePosition(headers[header.sourcePosition] ?? '');
  const previousText = headers[header.previousPosition];
  const previous = previousText === undefined ? null : parsePosition(previousText);
  const tenantId = headers[header.tenant];
  const receivedAt = headers[header.receivedAt];
  if (source === null || source.partition !== batch.partition) {
    return invalid(record, batch, header.sourcePosition);
  }
  if (previousText !== undefined && previous?.partition !== batch.partition) {
    return invalid(record, batch, header.previousPosition);
  }
  if (tenantId === undefined || tenantId === '') return invalid(record, batch, header.tenant);
  if (receivedAt === undefined || !isoTime.test(receivedAt)) return invalid(record, batch, header.receivedAt);
  const row: Row = {
    source,
    tenantId,
    eventId: headers[header.id] ?? '',
    eventType: headers[header.type] ?? '',
    receivedAt,
    topic: batch.topic,
    partition: batch.partition,
    value: record.value,
  };
  return { row, previous };
}

function invalid(record: StoredRecord, batch: PartitionBatch, name: string): PulseError {
  return storeError(
    'PULSE_STORE_RECORD_INVALID',
    `The record at offset ${record.offset} of ${batch.topic}, partition ${batch.partition}, has no usable header ${name}.`,
  );
}
