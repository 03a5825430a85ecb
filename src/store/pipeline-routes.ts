// GET /v1/reconciliation and /v1/pipeline.
import type { FastifyInstance } from 'fastify';
import { principalOf, requireScope } from '../tenancy/index.ts';
import {
  commonQuery,
  dayBefore,
  readRange,
  type StoreRouteDependencies,
  visibleTenants,
  visibleTopicSets,
} from './access.ts';
import { describePipeline } from './pipeline.ts';
import { reconcile } from './reconciliation.ts';

const minuteMs = 60_000;

const sumsProperties = {
  accepted: { type: 'integer' },
  stored: { type: 'integer' },
  duplicates: { type: 'integer' },
  dead_letters: { type: 'integer' },
  dropped: { type: 'integer' },
  in_flight: { type: 'integer', description: 'accepted minus all others.' },
  parked: { type: 'integer', description: 'Part of in_flight: refused by Postgres and kept aside.' },
} as const;

const reconciliationSchema = {
  type: 'object',
  properties: {
    from: { type: 'string', format: 'date-time' },
    to: { type: ['string', 'null'], format: 'date-time' },
    ...sumsProperties,
    closed: { type: 'boolean', description: 'False means that accepted events are missing.' },
    unprocessed: {
      type: 'integer',
      description: 'Records that wait to be judged, of all tenants that share the topics.',
    },
    minutes: {
      type: 'array',
      items: {
        type: 'object',
        properties: { minute: { type: 'string', format: 'date-time' }, ...sumsProperties },
      },
    },
  },
} as const;

const partitionSchema = {
  type: 'object',
  properties: {
    topic: { type: 'string' },
    partition: { type: 'integer' },
    state: { type: 'string', enum: ['running', 'stopped'] },
    lag_events: { type: 'integer' },
    lag_seconds: { type: 'number' },
    source_offset: { type: ['integer', 'null'] },
    updated_at: { type: ['string', 'null'], format: 'date-time' },
    error: {
      type: ['object', 'null'],
      properties: {
        code: { type: 'string' },
        detail: { type: ['string', 'null'] },
        at: { type: 'string', format: 'date-time' },
      },
    },
  },
} as const;

const pipelineSchema = {
  type: 'object',
  properties: {
    stages: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          stage: { type: 'string', enum: ['process', 'dead-letters', 'store'] },
          state: { type: 'string', enum: ['running', 'stopped'] },
          lag_events: { type: 'integer' },
          lag_seconds: { type: 'number' },
          events_per_second: { type: 'number' },
          partitions: { type: 'array', items: partitionSchema },
        },
      },
    },
  },
} as const;

/** Registers the views of the pipeline. */
export function registerPipelineRoutes(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  const onRequest = requireScope('read');
  app.get(
    '/v1/reconciliation',
    {
      onRequest,
      schema: {
        tags: ['receipts'],
        summary: 'Whether accepted = stored + duplicates + dead letters + dropped + in flight.',
        description: 'By minute of receipt; from is cut to its minute, and 24 hours ago when it is left out.',
        querystring: { type: 'object', additionalProperties: false, properties: commonQuery },
        response: { 200: reconciliationSchema },
      },
    },
    async (request) => {
      const { fromMs, toMs } = readRange(request.query as { readonly from?: string; readonly to?: string });
      const tenantIds = visibleTenants(request, dependencies);
      const sets = visibleTopicSets(request, tenantIds, dependencies);
      const fromMinute =
        Math.floor((fromMs ?? dayBefore(toMs ?? dependencies.clock.now())) / minuteMs) * minuteMs;
      const result = await reconcile(dependencies, tenantIds, sets, { fromMs: fromMinute, toMs });
      const to = toMs === null ? null : new Date(toMs).toISOString();
      return { from: new Date(fromMinute).toISOString(), to, ...result };
    },
  );
  app.get(
    '/v1/pipeline',
    {
      onRequest,
      schema: {
        tags: ['pipeline'],
        summary: 'How far each stage is, by partition of its input topic.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: { tenant_id: commonQuery.tenant_id },
        },
        response: { 200: pipelineSchema },
      },
    },
    async (request) => {
      const tenantIds = visibleTenants(request, dependencies);
      const sets = visibleTopicSets(request, tenantIds, dependencies);
      const isAdministrator = principalOf(request).kind === 'admin';
      return { stages: await describePipeline(dependencies, tenantIds, sets, isAdministrator) };
    },
  );
}
