// Metrics and stats over event_counts and stage_counts: sums by minute that the store and process have kept exactly.
import type { Queryable } from '../database/types.ts';
import { otherTypes } from './counts.ts';

const hourMs = 3_600_000;

/** Types that are told apart in a series; the rest is summed as `(other)`. */
const typesMax = 20;

/** A time range of whole seconds or finer, `to` exclusive. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

interface Totals {
  readonly events: number;
  readonly bytes: number;
  readonly events_per_second: number;
}

interface TypeTotals extends Totals {
  readonly event_type: string;
}

interface SeriesPoint extends Totals {
  /** Beginning of the bucket, ISO 8601 UTC. */
  readonly start: string;
  /** Events by type. */
  readonly by_type: Readonly<Record<string, number>>;
}

export interface MetricsReport {
  readonly totals: Totals;
  readonly by_type: readonly TypeTotals[];
  readonly series: readonly SeriesPoint[];
}

interface CountRow {
  readonly bucket: Date;
  readonly event_type: string;
  readonly events: number;
  readonly bytes: number;
}

/**
 * Events by type and bucket, by time of receipt.
 * Shape: one point for each bucket of the span, also empty ones; types by number of events, at most 20 and `(other)`.
 */
export async function readMetrics(
  client: Queryable,
  tenantIds: readonly string[],
  options: Span & { readonly granularityMs: number; readonly eventType: string | null },
): Promise<MetricsReport> {
  const { fromMs, toMs, granularityMs } = options;
  // Whole hours come from the counts by hour where the buckets are no finer; minutes fill the edges.
  const hoursFromMs = Math.ceil(fromMs / hourMs) * hourMs;
  const hoursToMs =
    granularityMs < hourMs ? hoursFromMs : Math.max(hoursFromMs, Math.floor(toMs / hourMs) * hourMs);
  const edgeMs = Math.min(hoursFromMs, toMs);
  const range = (minutes: 1 | 60, from: string, to: string): string =>
    `SELECT bucket, event_type, events, bytes FROM event_counts WHERE tenant_id = ANY ($1::text[])
       AND bucket_minutes = ${minutes} AND bucket >= ${from}::timestamptz AND bucket < ${to}::timestamptz
       AND ($5::text IS NULL OR event_type = $5)`;
  const { rows } = await client.query<CountRow>(
    `WITH counts AS MATERIALIZED (
       SELECT date_bin($4::interval, c.bucket, $2::timestamptz) AS bucket, event_type, sum(events) AS events, sum(bytes) AS bytes
       FROM (${range(1, '$2', '$8')} UNION ALL ${range(60, '$9', '$10')} UNION ALL ${range(1, '$11', '$3')}) c
       GROUP BY 1, 2
     ), top AS (
       SELECT event_type FROM counts WHERE event_type <> $6 GROUP BY 1 ORDER BY sum(events) DESC, 1 LIMIT $7
     )
     SELECT bucket, coalesce(top.event_type, $6) AS event_type, sum(events)::bigint AS events, sum(bytes)::bigint AS bytes
     FROM counts LEFT JOIN top USING (event_type) GROUP BY 1, 2`,
    [
      tenantIds,
      isoOf(fromMs),
      isoOf(toMs),
      `${granularityMs} milliseconds`,
      options.eventType,
      otherTypes,
      typesMax,
      isoOf(edgeMs),
      isoOf(hoursFromMs),
      isoOf(hoursToMs),
      isoOf(Math.max(edgeMs, hoursToMs)),
    ],
  );
  return buildReport(rows, options);
}

function buildReport(
  rows: readonly CountRow[],
  options: Span & { readonly granularityMs: number },
): MetricsReport {
  const { fromMs, toMs, granularityMs } = options;
  const byType = new Map<string, { events: number; bytes: number }>();
  const buckets = new Map<number, { events: number; bytes: number; byType: Record<string, number> }>();
  for (let startMs = fromMs; startMs < toMs; startMs += granularityMs) {
    buckets.set(startMs, { events: 0, bytes: 0, byType: Object.create(null) as Record<string, number> });
  }
  for (const row of rows) {
    const type = byType.get(row.event_type) ?? { events: 0, bytes: 0 };
    byType.set(row.event_type, { events: type.events + row.events, bytes: type.bytes + row.bytes });
    const bucket = buckets.get(row.bucket.getTime());
    if (bucket === undefined) continue;
    bucket.events += row.events;
    bucket.bytes += row.bytes;
    bucket.byType[row.event_type] = (bucket.byType[row.event_type] ?? 0) + row.events;
  }
  const sums = [...byType.values()];
  return {
    totals: totals(sum(sums, 'events'), sum(sums, 'bytes'), toMs - fromMs),
    by_type: [...byType]
      .sort(([a, x], [b, y]) => y.events - x.events || (a < b ? -1 : 1))
      .map(([event_type, { events, bytes }]) => ({ event_type, ...totals(events, bytes, toMs - fromMs) })),
    series: [...buckets].map(([startMs, bucket]) => ({
      start: new Date(startMs).toISOString(),
      ...totals(bucket.events, bucket.bytes, Math.min(granularityMs, toMs - startMs)),
      by_type: bucket.byType,
    })),
  };
}

function sum(values: readonly { events: number; bytes: number }[], key: 'events' | 'bytes'): number {
  return values.reduce((total, value) => total + value[key], 0);
}

function totals(events: number, bytes: number, durationMs: number): Totals {
  const perSecond = durationMs <= 0 ? 0 : (events * 1000) / durationMs;
  return { events, bytes, events_per_second: Math.round(perSecond * 1000) / 1000 };
}

export interface StatsReport {
  readonly accepted: number;
  readonly dead_letters: number;
  readonly duplicates: number;
  /** From receipt to storage over the newest events; null when there are none. */
  readonly processing_delay_ms: {
    readonly p50: number;
    readonly p95: number;
    readonly p99: number;
    readonly events: number;
  } | null;
}

/** Newest events that the delay is measured over, over all tenants. */
const delaySampleEvents = 1_000;

/** Outcomes of the span, and how long the newest stored events were on their way. */
export async function readStats(
  client: Queryable,
  tenantIds: readonly string[],
  span: Span,
): Promise<StatsReport> {
  const from = new Date(span.fromMs).toISOString();
  const to = new Date(span.toMs).toISOString();
  const perTenant = Math.max(10, Math.ceil(delaySampleEvents / Math.max(1, tenantIds.length)));
  const [counts, delays] = await Promise.all([
    client.query<{ outcome: string; events: number }>(
      `SELECT outcome, sum(events)::bigint AS events FROM stage_counts
       WHERE tenant_id = ANY ($1::text[]) AND received_minute >= $2::timestamptz AND received_minute < $3::timestamptz
         AND stage = 'process' GROUP BY 1`,
      [tenantIds, from, to],
    ),
    client.query<{ quantiles: number[] | null; events: number }>(
      `SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY delay_ms) AS quantiles, count(*) AS events
       FROM unnest($1::text[]) AS t(tenant_id) CROSS JOIN LATERAL (
         SELECT greatest(0, extract(epoch FROM stored_at - received_at) * 1000)::float8 AS delay_ms FROM events e
         WHERE e.tenant_id = t.tenant_id AND e.received_at >= $2::timestamptz AND e.received_at < $3::timestamptz
         ORDER BY received_at DESC LIMIT $4
       ) newest`,
      [tenantIds, from, to, perTenant],
    ),
  ]);
  const outcome = (name: string): number => counts.rows.find((row) => row.outcome === name)?.events ?? 0;
  const { quantiles = null, events = 0 } = delays.rows[0] ?? {};
  const [p50 = 0, p95 = 0, p99 = 0] = quantiles?.map((value) => Math.round(value)) ?? [];
  return {
    accepted: outcome('accepted'),
    dead_letters: outcome('dead_letter'),
    duplicates: outcome('duplicate'),
    processing_delay_ms: quantiles === null ? null : { p50, p95, p99, events },
  };
}

function isoOf(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
