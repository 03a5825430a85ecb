// What last went wrong in a stage, by partition of its input topic. Kept in Postgres so that any process can show it:
// /v1/pipeline is answered by the front, while the stages run in the worker.
import type { Database } from './types.ts';

/** Where a stage is in trouble. */
export interface StagePlace {
  /** `process`, `dead-letters` or `store`. */
  readonly stage: string;
  /** The stage's own input topic. */
  readonly topic: string;
  readonly partition: number;
}

/** One stage's trouble in one partition. */
export interface StageError extends StagePlace {
  /** A `PULSE_…` code, or the SQLSTATE of an error without one. */
  readonly code: string;
  readonly detail: string;
  /** When it was last seen. */
  readonly at: Date;
}

const detailCharsMax = 2_000;

/** Remembers the trouble of a partition; an older one of the same place is replaced. `detail` must not name a tenant. */
export async function recordStageError(
  database: Database,
  place: StagePlace,
  problem: { readonly code: string; readonly detail: string; readonly atMs: number },
): Promise<void> {
  await database.query(
    `INSERT INTO stage_errors (stage, topic, partition, code, detail, at) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (stage, topic, partition) DO UPDATE SET code = excluded.code, detail = excluded.detail, at = excluded.at`,
    [
      place.stage,
      place.topic,
      place.partition,
      problem.code,
      problem.detail.slice(0, detailCharsMax),
      new Date(problem.atMs),
    ],
  );
}

/** Forgets the trouble of a partition that goes on again. */
export async function clearStageError(database: Database, place: StagePlace): Promise<void> {
  await database.query('DELETE FROM stage_errors WHERE stage = $1 AND topic = $2 AND partition = $3', [
    place.stage,
    place.topic,
    place.partition,
  ]);
}

/** Every trouble that lasts, by stage, topic and partition. */
export async function readStageErrors(database: Database): Promise<readonly StageError[]> {
  const { rows } = await database.query<StageError>(
    'SELECT stage, topic, partition, code, detail, at FROM stage_errors ORDER BY stage, topic, partition',
  );
  return rows;
}
