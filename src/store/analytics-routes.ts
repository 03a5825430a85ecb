// GET /v1/metrics and /v1/stats.
import type { FastifyInstance } from 'fastify';
import { requireScope } from '../tenancy/index.ts';
import {
  commonQuery,
  nameText,
  read,
  readRange,
  type StoreRouteDependencies,
  visibleTenants,
} from './access.ts';
import { readMetrics, readStats, type Span } from './analytics.ts';
import { storeError } from './errors.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

const timeframes = {
  '5m': 5 * minuteMs,
  '30m': 30 * minuteMs,
  '1h': hourMs,
  '24h': dayMs,
  '7d': 7 * dayMs,
} as const;
const granularities = {
  '1m': minuteMs,
  '5m': 5 * minuteMs,
  '15m': 15 * minuteMs,
  '1h': hourMs,
  '1d': dayMs,
} as const;
const windows = { '5m': timeframes['5m'], '30m': timeframes['30m'], '1h': hourMs } as const;
/** Points of a series. */
const pointsMax = 2_000;

const totalsProperties = {
  events: { type: 'integer' },
  bytes: { type: 'integer' },
  events_per_second: { type: 'number' },
} as const;
const totalsSchema = { type: 'object', properties: totalsProperties } as const;
const byTypeSchema = {
  type: 'array',
  items: { type: 'object', properties: { event_type: { type: 'string' }, ...totalsProperties } },
} as const;
const spanProperties = {
  tenant_id: { type: ['string', 'null'], description: 'Null when the figures are those of all tenants.' },
  from: { type: 'string', format: 'date-time' },
  to: { type: 'string', format: 'date-time' },
} as const;

const metricsSchema = {
  type: 'object',
  properties: {
    ...spanProperties,
    granularity: { type: 'string' },
    totals: totalsSchema,
    by_type: byTypeSchema,
    series: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          start: { type: 'string', format: 'date-time' },
          ...totalsProperties,
          by_type: { type: 'object', additionalProperties: { type: 'integer' } },
        },
      },
    },
  },
} as const;

const statsSchema = {
  type: 'object',
  properties: {
    ...spanProperties,
    window: { type: 'string' },
    totals: totalsSchema,
    top_types: byTypeSchema,
    accepted: { type: 'integer' },
    dead_letters: { type: 'integer' },
    duplicates: { type: 'integer' },
    processing_delay_ms: {
      type: ['object', 'null'],
      properties: {
        p50: { type: 'integer' },
        p95: { type: 'integer' },
        p99: { type: 'integer' },
        events: { type: 'integer', description: 'Newest events that the figures are measured over.' },
      },
    },
  },
} as const;

interface MetricsQuery {
  readonly timeframe?: keyof typeof timeframes;
  readonly from?: string;
  readonly to?: string;
  readonly granularity?: keyof typeof granularities;
  readonly event_type?: string;
}

/** Registers the analytics routes. Both count by time of receipt, in whole minutes. */
export function registerAnalyticsRoutes(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  const onRequest = requireScope('read');
  app.get(
    '/v1/metrics',
    {
      onRequest,
      schema: {
        tags: ['analytics'],
        summary: 'Stored events: totals, rates and a series, by type.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ...commonQuery,
            timeframe: {
              type: 'string',
              enum: Object.keys(timeframes),
              description: 'Up to now; 1h when nothing is asked for.',
            },
            granularity: { type: 'string', enum: Object.keys(granularities) },
            event_type: nameText,
          },
        },
        response: { 200: metricsSchema },
      },
    },
    async (request) => {
      const query = request.query as MetricsQuery;
      const tenantIds = visibleTenants(request, dependencies);
      const asked = spanOf(query, dependencies.clock.now());
      const granularity = granularityOf(query, asked);
      const granularityMs = granularities[granularity];
      // Hours are counted as a whole, so coarse buckets begin at one.
      const span =
        granularityMs < hourMs ? asked : { ...asked, fromMs: Math.floor(asked.fromMs / hourMs) * hourMs };
      const eventType = query.event_type ?? null;
      const report = await read(dependencies, 'metrics', tenantIds, (client) =>
        readMetrics(client, tenantIds, { ...span, granularityMs, eventType }),
      );
      return { tenant_id: onlyTenant(tenantIds), ...isoSpan(span), granularity, ...report };
    },
  );
  app.get(
    '/v1/stats',
    {
      onRequest,
      schema: {
        tags: ['analytics'],
        summary: 'What is going on now: totals, rate, top types, dead letters, duplicates, delay.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            tenant_id: commonQuery.tenant_id,
            window: { type: 'string', enum: Object.keys(windows), default: '5m' },
          },
        },
        response: { 200: statsSchema },
      },
    },
    async (request) => {
      const { window } = request.query as { readonly window: keyof typeof windows };
      const tenantIds = visibleTenants(request, dependencies);
      const span = lastSpan(windows[window], dependencies.clock.now());
      const [metrics, stats] = await read(dependencies, 'stats', tenantIds, (client) =>
        Promise.all([
          readMetrics(client, tenantIds, { ...span, granularityMs: 100 * dayMs, eventType: null }),
          readStats(client, tenantIds, span),
        ]),
      );
      const { totals, by_type: types } = metrics;
      return {
        tenant_id: onlyTenant(tenantIds),
        window,
        ...isoSpan(span),
        totals,
        top_types: types.slice(0, 10),
        ...stats,
      };
    },
  );
}

/** Counts are kept by minute, so a span begins at a whole one: up to 59 s more than was asked for, and `from` says so. */
function lastSpan(durationMs: number, nowMs: number): Span {
  return { fromMs: floorMinute(nowMs - durationMs), toMs: nowMs };
}

function spanOf(query: MetricsQuery, nowMs: number): Span {
  const { fromMs, toMs } = readRange(query);
  if (query.timeframe !== undefined) {
    if (fromMs !== null || toMs !== null) {
      throw storeError('PULSE_STORE_RANGE_INVALID', 'timeframe stands alone; send either it or from and to.');
    }
    return lastSpan(timeframes[query.timeframe], nowMs);
  }
  if (fromMs === null && toMs === null) return lastSpan(hourMs, nowMs);
  if (fromMs === null) throw storeError('PULSE_STORE_RANGE_INVALID', 'from is missing beside to.');
  const span = { fromMs: floorMinute(fromMs), toMs: toMs ?? nowMs };
  if (span.fromMs >= span.toMs)
    throw storeError('PULSE_STORE_RANGE_INVALID', `from=${query.from} lies in the future.`);
  return span;
}

function granularityOf(query: MetricsQuery, span: Span): keyof typeof granularities {
  const durationMs = span.toMs - span.fromMs;
  const names = Object.keys(granularities) as (keyof typeof granularities)[];
  const fitting = names.find((name) => durationMs / granularities[name] <= 200) ?? '1d';
  const granularity = query.granularity ?? fitting;
  if (durationMs / granularities[granularity] > pointsMax) {
    const days = Math.floor((pointsMax * granularities[granularity]) / dayMs);
    throw storeError(
      'PULSE_STORE_RANGE_INVALID',
      `granularity=${granularity} allows ${pointsMax} points, about ${days} days.`,
    );
  }
  return granularity;
}

function floorMinute(timeMs: number): number {
  return Math.floor(timeMs / minuteMs) * minuteMs;
}

function isoSpan(span: Span): { readonly from: string; readonly to: string } {
  return { from: new Date(span.fromMs).toISOString(), to: new Date(span.toMs).toISOString() };
}

function onlyTenant(tenantIds: readonly string[]): string | null {
  return tenantIds.length === 1 ? (tenantIds[0] as string) : null;
}
