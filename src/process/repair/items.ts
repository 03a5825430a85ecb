// The items of a repair job: picked out once, sent in chunks, settled by the verdicts of process.
import type { Failure } from '../../core/outcome.ts';
import type { Queryable } from '../../database/types.ts';
import { whereOf } from '../dead-letters/queries.ts';
import type { Job } from './jobs.ts';
import type { ItemResult } from './letters.ts';

/** An item that waits. */
export interface WaitingItem {
  readonly item: number;
  readonly dead_letter_id: string;
}

/** An item whose attempt is, or is about to be, in the raw log. */
export interface SentItem extends WaitingItem {
  readonly attempt: number;
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly target_epoch: number;
  readonly target_partition: number;
  readonly scan_from: number;
}

/**
 * Picks out the items of a job, oldest dead letter first; afterwards the job has its total. Does nothing for a job that has one.
 * Of a filter only open dead letters are taken, at most `itemsMax`; ids are taken as they are, each once.
 */
export async function pickItems(client: Queryable, job: Job, itemsMax: number): Promise<void> {
  if (job.total !== null) return;
  const own = [job.tenant_id, job.job_id];
  const { selection } = job;
  if ('ids' in selection) {
    await client.query(
      `INSERT INTO repair_items (tenant_id, job_id, item, dead_letter_id)
       SELECT $1, $2, number, id FROM unnest($3::uuid[]) WITH ORDINALITY AS asked (id, number)`,
      [...own, [...new Set(selection.ids)]],
    );
  } else {
    const { where, values } = whereOf([job.tenant_id], selection.filter);
    const next = values.length + 1;
    await client.query(
      `INSERT INTO repair_items (tenant_id, job_id, item, dead_letter_id)
       SELECT $${next}, $${next + 1}, row_number() OVER (ORDER BY received_at, dead_letter_id), dead_letter_id
       FROM (SELECT received_at, dead_letter_id FROM dead_letters WHERE ${where.join(' AND ')} AND state = 'open'
             ORDER BY received_at, dead_letter_id LIMIT $${next + 2}) AS picked`,
      [...values, ...own, itemsMax + 1],
    );
  }
  const beyond = await client.query(
    'DELETE FROM repair_items WHERE tenant_id = $1 AND job_id = $2 AND item > $3',
    [...own, itemsMax],
  );
  await client.query(
    `UPDATE repair_jobs SET truncated = $3, total = (SELECT count(*) FROM repair_items WHERE tenant_id = $1 AND job_id = $2)
     WHERE tenant_id = $1 AND job_id = $2`,
    [...own, beyond.rowCount > 0],
  );
}

/** The next waiting items, as many as `bytesMax` of payload allow; at least one while one waits. */
export async function nextItems(
  client: Queryable,
  job: Job,
  limit: { readonly itemsMax: number; readonly bytesMax: number },
): Promise<readonly WaitingItem[]> {
  const { rows } = await client.query<WaitingItem>(
    `SELECT item, dead_letter_id FROM repair_items
     WHERE tenant_id = $1 AND job_id = $2 AND state = 'waiting' ORDER BY item LIMIT $3`,
    [job.tenant_id, job.job_id, limit.itemsMax],
  );
  // By ids and not by a join: before the first ANALYZE of a table the planner would scan the tenant's rows once for each item.
  const sizes = await client.query<{ id: string; bytes: number }>(
    `SELECT dead_letter_id AS id, octet_length(payload) AS bytes FROM dead_letters
     WHERE tenant_id = $1 AND dead_letter_id = ANY ($2::uuid[])`,
    [job.tenant_id, rows.map((row) => row.dead_letter_id)],
  );
  const bytesOf = new Map(sizes.rows.map(({ id, bytes }) => [id, bytes]));
  let bytes = 0;
  const end = rows.findIndex((row, index) => {
    bytes += bytesOf.get(row.dead_letter_id) ?? 0;
    return index > 0 && bytes > limit.bytesMax;
  });
  return end === -1 ? rows : rows.slice(0, end);
}

/** An item that is done without any attempt. */
export interface DoneItem {
  readonly item: number;
  readonly result: ItemResult;
  readonly detail: string | null;
  readonly failures: readonly Failure[] | null;
}

export async function finishItems(client: Queryable, job: Job, items: readonly DoneItem[]): Promise<void> {
  if (items.length === 0) return;
  await client.query(
    `UPDATE repair_items i SET state = 'done', result = v.result, detail = v.detail, failures = v.failures::jsonb
     FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[]) AS v (item, result, detail, failures)
     WHERE i.tenant_id = $1 AND i.job_id = $2 AND i.item = v.item AND i.state <> 'done'`,
    [
      job.tenant_id,
      job.job_id,
      items.map((one) => one.item),
      items.map((one) => one.result),
      items.map((one) => one.detail),
      items.map((one) => (one.failures === null ? null : JSON.stringify(one.failures))),
    ],
  );
}

/**
 * Moves dead letters to `reprocessing` and their items to `sent`, in the caller's transaction.
 * Errors: throws when a dead letter is not open at the attempt before; the caller holds their rows, so that is a defect.
 */
export async function sendItems(client: Queryable, job: Job, items: readonly SentItem[]): Promise<void> {
  if (items.length === 0) return;
  const moved = await client.query(
    `UPDATE dead_letters d SET state = 'reprocessing', attempts = v.attempt
     FROM unnest($2::uuid[], $3::integer[]) AS v (id, attempt)
     WHERE d.tenant_id = $1 AND d.dead_letter_id = v.id AND d.state = 'open' AND d.attempts = v.attempt - 1`,
    [job.tenant_id, items.map((one) => one.dead_letter_id), items.map((one) => one.attempt)],
  );
  if (moved.rowCount !== items.length) {
    throw new Error(`${items.length - moved.rowCount} dead letters changed while they were held`);
  }
  await client.query(
    `UPDATE repair_items i SET state = 'sent', attempt = v.attempt, epoch = v.epoch, partition = v.partition,
       record_offset = v.record_offset, target_epoch = v.target_epoch, target_partition = v.target_partition, scan_from = v.scan_from
     FROM jsonb_to_recordset($3::jsonb) AS v (item integer, attempt integer, epoch integer, partition integer, record_offset bigint,
       target_epoch integer, target_partition integer, scan_from bigint)
     WHERE i.tenant_id = $1 AND i.job_id = $2 AND i.item = v.item`,
    [job.tenant_id, job.job_id, JSON.stringify(items)],
  );
}

/** Items without a verdict. */
export async function sentItems(client: Queryable, job: Job): Promise<readonly SentItem[]> {
  const { rows } = await client.query<SentItem>(
    `SELECT item, dead_letter_id, attempt, epoch, partition, record_offset, target_epoch, target_partition, scan_from
     FROM repair_items WHERE tenant_id = $1 AND job_id = $2 AND state = 'sent' ORDER BY item`,
    [job.tenant_id, job.job_id],
  );
  return rows;
}

/** Takes the verdicts of process over; returns the number of items that have none yet, and of those that wait. */
export async function settleItems(
  client: Queryable,
  job: Job,
): Promise<{ readonly sent: number; readonly waiting: number }> {
  await client.query(
    `UPDATE repair_items i SET state = 'done', failures = judged.failures, result = CASE judged.outcome
         WHEN 'valid' THEN 'reprocessed' WHEN 'duplicate' THEN 'duplicate' ELSE 'still_invalid' END
     FROM (SELECT s.ctid AS place, a.outcome, a.failures FROM repair_items s CROSS JOIN LATERAL (
             SELECT outcome, failures FROM repair_attempts a
             WHERE a.tenant_id = $1 AND a.epoch = s.epoch AND a.partition = s.partition AND a.record_offset = s.record_offset
               AND a.attempt = s.attempt LIMIT 1) AS a
           WHERE s.tenant_id = $1 AND s.job_id = $2 AND s.state = 'sent' AND a.outcome IS NOT NULL) AS judged
     WHERE i.ctid = judged.place`,
    [job.tenant_id, job.job_id],
  );
  const { rows } = await client.query<{ sent: number; waiting: number }>(
    `SELECT count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'waiting') AS waiting
     FROM repair_items WHERE tenant_id = $1 AND job_id = $2 AND state <> 'done'`,
    [job.tenant_id, job.job_id],
  );
  return rows[0] ?? { sent: 0, waiting: 0 };
}
