// Reads of the table `dead_letters`. Every statement names the tenants, although row-level security would do: the indexes
// start with them.
import type { Failure } from '../../core/outcome.ts';
import type { Queryable } from '../../database/types.ts';

/** A dead letter as read. */
export interface DeadLetterRecord {
  readonly tenant_id: string;
  readonly id: string;
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly stage: string;
  readonly code: string;
  readonly event_id: string | null;
  readonly event_type: string | null;
  readonly failures: readonly Failure[];
  readonly headers: Readonly<Record<string, string>>;
  readonly fingerprint: string;
  readonly attempts: number;
  readonly state: string;
  readonly received_at: Date;
  readonly created_at: Date;
  readonly payload: Buffer;
}

/** What a list may be narrowed to; null leaves it open. `to` is exclusive. */
export interface DeadLetterFilter {
  readonly code: string | null;
  readonly stage: string | null;
  readonly event_type: string | null;
  readonly event_id: string | null;
  readonly fingerprint: string | null;
  readonly fromMs: number | null;
  readonly toMs: number | null;
}

/** The last dead letter of the page before. */
export interface Place {
  readonly receivedAtMs: number;
  readonly id: string;
}

/** Payload bytes of one page; a single larger payload still makes a page. */
const pageBytesMax = 4 * 1_048_576;
/** Longest time that Postgres may think about one of these reads. */
const readTimeoutMs = 10_000;

const columns = `tenant_id, dead_letter_id AS id, epoch, partition, record_offset, stage, code, event_id, event_type,
  failures, headers, fingerprint, attempts, state, received_at, created_at, payload`;

/** Bounds the statements that follow in this transaction. */
export async function limitTime(client: Queryable): Promise<void> {
  await client.query("SELECT set_config('statement_timeout', $1, true)", [String(readTimeoutMs)]);
}

/** Dead letters, newest first; `hasMore` when the page ended by count or by bytes. */
export async function listDeadLetters(
  client: Queryable,
  tenantIds: readonly string[],
  filter: DeadLetterFilter,
  page: { readonly limit: number; readonly after: Place | null },
): Promise<{ readonly deadLetters: readonly DeadLetterRecord[]; readonly hasMore: boolean }> {
  const { where, values } = whereOf(tenantIds, filter);
  if (page.after !== null) {
    values.push(new Date(page.after.receivedAtMs), page.after.id);
    where.push(`(received_at, dead_letter_id) < ($${values.length - 1}, $${values.length}::uuid)`);
  }
  values.push(page.limit + 1, pageBytesMax);
  // octet_length reads the size of a stored value without fetching it: only payloads of this page leave the disk.
  const { rows } = await client.query<DeadLetterRecord & { readonly fetched: number }>(
    `SELECT ${columns}, fetched FROM (
       SELECT *, count(*) OVER () AS fetched, row_number() OVER newest_first AS number,
              sum(octet_length(payload)) OVER newest_first AS bytes_through
       FROM (SELECT * FROM dead_letters WHERE ${where.join(' AND ')}
             ORDER BY received_at DESC, dead_letter_id DESC LIMIT $${values.length - 1}) AS newest
       WINDOW newest_first AS (ORDER BY received_at DESC, dead_letter_id DESC)
     ) AS page
     WHERE number = 1 OR bytes_through <= $${values.length} ORDER BY number`,
    values,
  );
  const deadLetters = rows.slice(0, page.limit);
  return { deadLetters, hasMore: (rows[0]?.fetched ?? 0) > deadLetters.length };
}

/** One dead letter; null when there is none of that id that these tenants may see. */
export async function readDeadLetter(
  client: Queryable,
  tenantIds: readonly string[],
  id: string,
): Promise<DeadLetterRecord | null> {
  const { rows } = await client.query<DeadLetterRecord>(
    `SELECT ${columns} FROM dead_letters WHERE tenant_id = ANY ($1) AND dead_letter_id = $2 LIMIT 1`,
    [tenantIds, id],
  );
  return rows[0] ?? null;
}

/** Dead letters of one tenant with one fingerprint. */
export interface DeadLetterGroup {
  readonly tenant_id: string;
  readonly fingerprint: string;
  readonly code: string;
  readonly stage: string;
  readonly event_type: string | null;
  readonly count: number;
  readonly first_seen: Date;
  readonly last_seen: Date;
  /** Id and failures of the newest one. */
  readonly sample_id: string;
  readonly failures: readonly Failure[];
}

/** Groups, largest first; one more than `limit` when there are more. */
export async function groupDeadLetters(
  client: Queryable,
  tenantIds: readonly string[],
  filter: DeadLetterFilter,
  limit: number,
): Promise<readonly DeadLetterGroup[]> {
  const { where, values } = whereOf(tenantIds, filter);
  values.push(limit + 1);
  const { rows } = await client.query<DeadLetterGroup>(
    `SELECT g.*, newest.dead_letter_id AS sample_id, newest.failures
     FROM (SELECT tenant_id, fingerprint, min(code) AS code, min(stage) AS stage, min(event_type) AS event_type,
                  count(*) AS count, min(received_at) AS first_seen, max(received_at) AS last_seen
           FROM dead_letters WHERE ${where.join(' AND ')}
           GROUP BY tenant_id, fingerprint ORDER BY count(*) DESC, tenant_id, fingerprint LIMIT $${values.length}) AS g
     CROSS JOIN LATERAL (
       SELECT d.dead_letter_id, d.failures FROM dead_letters d
       WHERE d.tenant_id = g.tenant_id AND d.fingerprint = g.fingerprint AND d.received_at = g.last_seen
       ORDER BY d.dead_letter_id DESC LIMIT 1) AS newest
     ORDER BY g.count DESC, g.tenant_id, g.fingerprint`,
    values,
  );
  return rows;
}

/** Conditions and their values; the names of the columns are those of the filter. */
export function whereOf(
  tenantIds: readonly string[],
  filter: DeadLetterFilter,
): { readonly where: string[]; readonly values: unknown[] } {
  const values: unknown[] = [tenantIds];
  const where = ['tenant_id = ANY ($1)'];
  const add = (condition: string, value: unknown): void => {
    if (value === null) return;
    values.push(value);
    where.push(`${condition} $${values.length}`);
  };
  for (const name of ['code', 'stage', 'event_type', 'event_id', 'fingerprint'] as const) {
    add(`${name} =`, filter[name]);
  }
  add('received_at >=', filter.fromMs === null ? null : new Date(filter.fromMs));
  add('received_at <', filter.toMs === null ? null : new Date(filter.toMs));
  return { where, values };
}
