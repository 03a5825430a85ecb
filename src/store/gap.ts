// The sink's rule for one record: apply it, skip it as a repeat, or stop the partition.
import type { PulseError } from '../core/errors.ts';
import { formatPosition, type Position } from '../core/position.ts';
import type { StageOffsets } from '../database/positions.ts';
import { storeError } from './errors.ts';

/** How far a partition of the valid topic has taken effect. */
export interface Applied {
  /** The store's row of stage_positions for each epoch that the raw topic has had. */
  readonly offsets: ReadonlyMap<number, StageOffsets>;
  /** Offset of the valid topic that follows the last record that was stored or skipped as a repeat. */
  readonly logOffset: number;
}

/** What the rule looks at in one record. */
export interface Link {
  readonly offset: number;
  readonly source: Position;
  /** The record emitted before it; null when it was the first of its partition. */
  readonly previous: Position | null;
}

/**
 * Applies a record iff previous ≤ stored < source; at or below stored it is a repeat.
 * Guarantees: pure. A record without a previous one is taken only where nothing was stored yet, or when it directly
 * follows the last applied record of the log (then no record can be missing between the two).
 * Errors (returned, not thrown): PULSE_STORE_GAP, PULSE_STORE_EPOCH_UNKNOWN, PULSE_STORE_LOG_REPLACED.
 */
export function judge(link: Link, applied: Applied): 'apply' | 'repeat' | PulseError {
  const { source, previous } = link;
  const own = applied.offsets.get(source.epoch);
  if (own === undefined) return unknownEpoch(link, source.epoch);
  const stored = own.sourceOffset;
  if (source.offset <= stored) return 'repeat';
  if (link.offset < own.logOffset) return replaced(link, own.logOffset);
  if (previous === null) {
    return stored === -1 || link.offset === applied.logOffset ? 'apply' : gap(link, 'nothing', stored);
  }
  const storedBefore = applied.offsets.get(previous.epoch)?.sourceOffset;
  if (storedBefore === undefined) return unknownEpoch(link, previous.epoch);
  return previous.offset <= storedBefore ? 'apply' : gap(link, formatPosition(previous), storedBefore);
}

function gap(link: Link, previous: string, stored: number): PulseError {
  return storeError(
    'PULSE_STORE_GAP',
    `The record at offset ${link.offset} (raw position ${formatPosition(link.source)}) follows ${previous}, but only raw offset ${stored} is stored.`,
  );
}

function unknownEpoch(link: Link, epoch: number): PulseError {
  return storeError(
    'PULSE_STORE_EPOCH_UNKNOWN',
    `The record at offset ${link.offset} (raw position ${formatPosition(link.source)}) names epoch ${epoch}, which is none of its raw topic.`,
  );
}

function replaced(link: Link, logOffset: number): PulseError {
  return storeError(
    'PULSE_STORE_LOG_REPLACED',
    `The record at offset ${link.offset} (raw position ${formatPosition(link.source)}) is new, but everything below offset ${logOffset} was stored before.`,
  );
}
