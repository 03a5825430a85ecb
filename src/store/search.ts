// Search over stored events: pages, newest first, of one tenant or many.
import type { Position } from '../core/position.ts';
import type { Queryable } from '../database/types.ts';
import { dayBefore, type TimeRange } from './access.ts';
import type { Place } from './cursor.ts';
import { storeError } from './errors.ts';

/** What to look for; null means anything. */
export interface EventFilter extends TimeRange {
  readonly eventId: string | null;
  readonly idempotencyKey: string | null;
  readonly requestId: string | null;
  readonly eventType: string | null;
  /** An SQL/JSON path over `data`: matches when its first item is neither false nor null. */
  readonly predicate: string | null;
}

export interface PageRequest {
  readonly limit: number;
  /** The page starts behind this place. */
  readonly after: Place | null;
  /** Where to begin to look for the newest events; later ones are found as well. */
  readonly nowMs: number;
}

/** A stored event. Times are ISO 8601 UTC with milliseconds. */
export interface StoredEvent {
  readonly tenant_id: string;
  readonly event_id: string;
  readonly event_type: string;
  readonly event_time: string;
  readonly received_at: string;
  readonly schema_version: string | null;
  readonly subject: string | null;
  readonly source: string | null;
  readonly idempotency_key: string | null;
  readonly request_id: string | null;
  readonly protocol: string;
  readonly attempt: number;
  readonly trace_id: string | null;
  readonly stored_at: string;
  readonly position: Position;
  /** JSON text exactly as Postgres keeps it: numbers may be beyond what JavaScript can hold. */
  readonly enrichmentText: string;
  readonly dataText: string;
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** Whether more events follow. */
  readonly hasMore: boolean;
}

/** Bytes of envelopes after which a page ends early; one event alone may be larger. */
const pageBytesMax = 8_388_608;

const order = 'received_at DESC, epoch DESC, partition DESC, record_offset DESC';
const key = 'tenant_id, event_id, received_at, epoch, partition, record_offset';

/**
 * One page of events.
 * Guarantees: paging by the last event's place neither repeats nor leaves out an event that was there when the first page
 * was read, whatever is stored meanwhile. A page ends early at 8 MiB.
 * Errors: PULSE_STORE_PREDICATE_INVALID.
 * Cost: an index range per tenant and day. Each tenant's newest events are found by its own index scan (LATERAL), because
 * one scan over many tenants would sort everything they have.
 */
export async function searchEvents(
  client: Queryable,
  tenantIds: readonly string[],
  filter: EventFilter,
  page: PageRequest,
): Promise<EventPage> {
  if (filter.predicate !== null) await checkPredicate(client, filter.predicate);
  const endMs = page.after?.receivedAtMs ?? filter.toMs ?? page.nowMs;
  if (filter.fromMs === null && !isPointSearch(filter)) {
    // The newest events are mostly young: looking at two days first spares the indexes of all others.
    const young = await searchRange(client, tenantIds, { ...filter, fromMs: dayBefore(endMs) }, page);
    if (young.hasMore) return young;
  }
  return await searchRange(client, tenantIds, filter, page);
}

async function searchRange(
  client: Queryable,
  tenantIds: readonly string[],
  filter: EventFilter,
  page: PageRequest,
): Promise<EventPage> {
  const { conditions, values } = conditionsOf(filter, page.after, [tenantIds, page.limit, pageBytesMax]);
  const found = `SELECT ${key}, bytes FROM events e WHERE e.tenant_id = t.tenant_id ${conditions}`;
  // OFFSET 0 keeps the planner from walking a time index in the hope of meeting the one event early.
  const candidates = isPointSearch(filter) ? `SELECT * FROM (${found} OFFSET 0) point` : found;
  const text = `
    WITH candidates AS MATERIALIZED (
      SELECT c.* FROM unnest($1::text[]) AS t(tenant_id)
      CROSS JOIN LATERAL (${candidates} ORDER BY ${order} LIMIT $2 + 1) c
      ORDER BY ${order} LIMIT $2 + 1
    ), page AS MATERIALIZED (
      SELECT *, row_number() OVER by_order AS n, sum(bytes) OVER by_order - bytes AS bytes_before, count(*) OVER () AS candidates
      FROM candidates WINDOW by_order AS (ORDER BY ${order})
    )
    SELECT ${columns}, page.candidates
    FROM page JOIN events e USING (${key})
    WHERE page.n <= $2 AND (page.n = 1 OR page.bytes_before < $3)
    ORDER BY page.n`;
  const { rows } = await runSearch(client, text, values, filter);
  return { events: rows.map(toEvent), hasMore: rows.length > 0 && rows.length < Number(rows[0]?.candidates) };
}

type EventRow = Omit<StoredEvent, 'position' | 'enrichmentText' | 'dataText'> & {
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly enrichment_text: string;
  readonly data_text: string;
  readonly candidates: number;
};

const iso = (column: string): string =>
  `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS ${column.replace('e.', '')}`;

const columns = `tenant_id, event_id, e.event_type, ${iso('e.event_time')}, ${iso('e.received_at')}, e.schema_version,
  e.subject, e.source, e.idempotency_key, e.request_id, e.protocol, e.attempt, e.trace_id, ${iso('e.stored_at')},
  epoch, partition, record_offset, e.enrichment::text AS enrichment_text, coalesce(e.data::text, 'null') AS data_text`;

function toEvent(row: EventRow): StoredEvent {
  const { epoch, partition, record_offset: offset, enrichment_text, data_text, candidates: _, ...rest } = row;
  const position = { epoch, partition, offset };
  return { ...rest, position, enrichmentText: enrichment_text, dataText: data_text };
}

interface Conditions {
  readonly conditions: string;
  readonly values: readonly unknown[];
}

function conditionsOf(filter: EventFilter, after: Place | null, fixed: readonly unknown[]): Conditions {
  const parts: string[] = [];
  const values = [...fixed];
  const add = (value: unknown, condition: (parameter: string) => string): void => {
    if (value === null) return;
    values.push(value);
    parts.push(`AND ${condition(`$${values.length}`)}`);
  };
  add(filter.eventId, (p) => `e.event_id = ${p}`);
  add(filter.idempotencyKey, (p) => `e.idempotency_key = ${p}`);
  add(filter.requestId, (p) => `e.request_id = ${p}`);
  add(filter.eventType, (p) => `e.event_type = ${p}`);
  add(isoOf(filter.fromMs), (p) => `e.received_at >= ${p}::timestamptz`);
  add(isoOf(filter.toMs), (p) => `e.received_at < ${p}::timestamptz`);
  if (after !== null) {
    const { epoch, partition, offset } = after.position;
    const first = values.push(isoOf(after.receivedAtMs), epoch, partition, offset) - 3;
    // The first condition is implied by the second, but it alone lets the planner leave out later days.
    parts.push(
      `AND e.received_at <= $${first}::timestamptz AND (e.received_at, e.epoch, e.partition, e.record_offset)
       < ($${first}::timestamptz, $${first + 1}::int, $${first + 2}::int, $${first + 3}::bigint)`,
    );
  }
  add(
    filter.predicate,
    (p) =>
      `jsonb_path_query_first(e.data, ${p}::jsonpath, '{}', true) NOT IN ('false'::jsonb, 'null'::jsonb)`,
  );
  return { conditions: parts.join('\n'), values };
}

/** True when a condition picks few rows by its own index, on whatever day they are. */
export function isPointSearch(filter: EventFilter): boolean {
  return filter.eventId !== null || filter.idempotencyKey !== null || filter.requestId !== null;
}

function isoOf(timeMs: number | null): string | null {
  return timeMs === null ? null : new Date(timeMs).toISOString();
}

/** Lets Postgres read the predicate alone first, so that its complaint is about nothing else. */
async function checkPredicate(client: Queryable, predicate: string): Promise<void> {
  try {
    await client.query('SELECT $1::jsonpath', [predicate]);
  } catch (error) {
    throw predicateError(error) ?? error;
  }
}

async function runSearch(client: Queryable, text: string, values: readonly unknown[], filter: EventFilter) {
  try {
    return await client.query<EventRow>(text, values);
  } catch (error) {
    throw (filter.predicate === null ? null : predicateError(error)) ?? error;
  }
}

/** What Postgres says about a path that it cannot read or run: syntax, unknown variables, times without a zone. */
function predicateError(error: unknown): Error | null {
  const code: unknown = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (typeof code !== 'string' || !/^(22[0-9A-Z]{3}|42601|42704|0A000)$/.test(code)) return null;
  return storeError('PULSE_STORE_PREDICATE_INVALID', `q: ${(error as Error).message}.`, { cause: error });
}
