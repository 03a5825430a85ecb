// The exact counts that the reconciliation adds up, written in the transaction that moves the position.
import type { Queryable } from './types.ts';

/** An addition to one row of `stage_counts`. */
export interface StageCount {
  readonly tenantId: string;
  /** The minute of `received_at`, ISO 8601 in UTC: `2026-01-01T00:00:00.000Z`. One minute must always be written in one way. */
  readonly receivedMinute: string;
  readonly stage: string;
  readonly outcome: string;
  readonly topic: string;
  readonly partition: number;
  /** Events to add; negative when an outcome moves elsewhere. */
  readonly events: number;
  /** Bytes to add; negative likewise. */
  readonly bytes: number;
}

/**
 * Adds to `stage_counts` in one statement, in a transaction that is bound to all the tenants of the rows.
 * Guarantees: rows of one key are summed first; rows are locked in order of their key, so that two transactions cannot deadlock here.
 */
export async function addStageCounts(
  client: Pick<Queryable, 'query'>,
  counts: readonly StageCount[],
): Promise<void> {
  if (counts.length === 0) return;
  const rows = sumByKey(counts);
  await client.query(
    `INSERT INTO stage_counts AS c (tenant_id, received_minute, stage, outcome, topic, partition, events, bytes)
     SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::bigint[])
     ON CONFLICT (tenant_id, received_minute, stage, outcome, topic, partition)
     DO UPDATE SET events = c.events + excluded.events, bytes = c.bytes + excluded.bytes`,
    [
      rows.map((row) => row.tenantId),
      rows.map((row) => row.receivedMinute),
      rows.map((row) => row.stage),
      rows.map((row) => row.outcome),
      rows.map((row) => row.topic),
      rows.map((row) => row.partition),
      rows.map((row) => row.events),
      rows.map((row) => row.bytes),
    ],
    { name: 'database_add_stage_counts' },
  );
}

function sumByKey(counts: readonly StageCount[]): readonly StageCount[] {
  const sums = new Map<string, StageCount>();
  for (const count of counts) {
    // None of the parts can hold a line feed: slugs, times, names of topics and numbers.
    const key = `${count.tenantId}\n${count.receivedMinute}\n${count.stage}\n${count.outcome}\n${count.topic}\n${count.partition}`;
    const sum = sums.get(key);
    sums.set(
      key,
      sum === undefined
        ? count
        : { ...count, events: sum.events + count.events, bytes: sum.bytes + count.bytes },
    );
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
}
