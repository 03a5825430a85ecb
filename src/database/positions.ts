// How far each stage has taken effect, moved by compare-and-set in the transaction of the effect itself.
import { databaseError } from './errors.ts';
import type { Queryable } from './types.ts';

/** The two offsets of a position, which always move together. */
export interface StageOffsets {
  /** Last raw offset in effect; -1 when none is. */
  readonly sourceOffset: number;
  /** Next offset to read in the stage's own input topic. */
  readonly logOffset: number;
}

/** A row of `stage_positions`. */
export interface StagePosition extends StageOffsets {
  /** Epoch and partition of the raw topic. */
  readonly epoch: number;
  readonly partition: number;
  /** When it last moved. */
  readonly updatedAt: Date;
}

/** What a stage has when it has no row yet. */
export const startOffsets: StageOffsets = { sourceOffset: -1, logOffset: 0 };

/** All positions of a stage, ordered by epoch and partition; a partition without a row is at `startOffsets`. */
export async function readPositions(
  client: Pick<Queryable, 'query'>,
  stage: string,
): Promise<readonly StagePosition[]> {
  const { rows } = await client.query<StagePosition>(
    `SELECT epoch, partition, source_offset AS "sourceOffset", log_offset AS "logOffset", updated_at AS "updatedAt"
     FROM stage_positions WHERE stage = $1 ORDER BY epoch, partition`,
    [stage],
  );
  return rows;
}

/** A move of one position from what the caller knows to what its transaction makes true. */
export interface PositionMove {
  readonly stage: string;
  readonly epoch: number;
  readonly partition: number;
  readonly expected: StageOffsets;
  readonly next: StageOffsets;
}

/**
 * Moves a position by compare-and-set; the row is made when `expected` is `startOffsets` and there is none.
 * Guarantees: of two owners that expect the same, one moves it and the other is fenced, even when both make the first row.
 * Errors: PULSE_DATABASE_POSITION_FENCED when the row is not as expected; the caller's transaction must roll back.
 * RangeError when it would move back.
 */
export async function advancePosition(client: Pick<Queryable, 'query'>, move: PositionMove): Promise<void> {
  const { stage, epoch, partition, expected, next } = move;
  if (next.sourceOffset < expected.sourceOffset || next.logOffset < expected.logOffset) {
    throw new RangeError(
      `position of '${stage}' ${epoch}.${partition} may not move back from ${show(expected)} to ${show(next)}`,
    );
  }
  const isFirst =
    expected.sourceOffset === startOffsets.sourceOffset && expected.logOffset === startOffsets.logOffset;
  const values = [
    stage,
    epoch,
    partition,
    next.sourceOffset,
    next.logOffset,
    expected.sourceOffset,
    expected.logOffset,
  ];
  const moved = isFirst
    ? await client.query(INSERT_OR_MOVE, values, { name: 'database_position_first' })
    : await client.query(MOVE, values, { name: 'database_position_move' });
  if (moved.rowCount === 1) return;
  throw databaseError(
    'PULSE_DATABASE_POSITION_FENCED',
    `'${stage}' expected ${epoch}.${partition} at ${show(expected)}; somebody else has moved it.`,
    { details: { stage, epoch, partition, expected } },
  );
}

const MOVE = `
  UPDATE stage_positions SET source_offset = $4, log_offset = $5, updated_at = now()
  WHERE stage = $1 AND epoch = $2 AND partition = $3 AND source_offset = $6 AND log_offset = $7`;

const INSERT_OR_MOVE = `
  INSERT INTO stage_positions AS p (stage, epoch, partition, source_offset, log_offset) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (stage, epoch, partition) DO UPDATE
    SET source_offset = excluded.source_offset, log_offset = excluded.log_offset, updated_at = now()
    WHERE p.source_offset = $6 AND p.log_offset = $7`;

function show(offsets: StageOffsets): string {
  return `source ${offsets.sourceOffset}, log ${offsets.logOffset}`;
}
