// GET /v1/events, /v1/events/{event_id} and /v1/events/{event_id}/raw.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { header } from '../core/envelope.ts';
import { requireScope } from '../tenancy/index.ts';
import {
  commonQuery,
  dayBefore,
  nameText,
  read,
  readRange,
  type StoreRouteDependencies,
  visibleTenants,
} from './access.ts';
import { formatCursor, parseCursor } from './cursor.ts';
import { storeError } from './errors.ts';
import { eventJson, pageJson } from './event-json.ts';
import { readRawRecord } from './raw-record.ts';
import {
  type EventFilter,
  isPointSearch,
  type PageRequest,
  type StoredEvent,
  searchEvents,
} from './search.ts';

const tags = ['events'];

interface ListQuery {
  readonly event_id?: string;
  readonly idempotency_key?: string;
  readonly request_id?: string;
  readonly event_type?: string;
  readonly from?: string;
  readonly to?: string;
  readonly q?: string;
  readonly limit: number;
  readonly cursor?: string;
}

const listQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...commonQuery,
    event_id: nameText,
    idempotency_key: nameText,
    request_id: nameText,
    event_type: nameText,
    q: {
      type: 'string',
      minLength: 1,
      maxLength: 2000,
      description:
        'SQL/JSON path over data, for example `$.repository.id == 42`: events match when its first item is neither false nor null. Without from, id or key it looks at 24 hours.',
    },
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
    cursor: { type: 'string', minLength: 1, maxLength: 200, description: 'next_cursor of the page before.' },
  },
} as const;

const eventSchema = {
  type: 'object',
  additionalProperties: true,
  properties: {
    event_id: { type: 'string' },
    event_type: { type: 'string' },
    event_time: { type: 'string', format: 'date-time' },
    received_at: { type: 'string', format: 'date-time' },
    stored_at: { type: 'string', format: 'date-time' },
    tenant_id: { type: 'string' },
    receipt_id: { type: 'string' },
    position: { type: 'string' },
    enrichment: { type: 'object', additionalProperties: true },
    data: { description: 'Any JSON; numbers are exact, also beyond 2^53.' },
  },
} as const;

const pageSchema = {
  type: 'object',
  properties: {
    events: { type: 'array', items: eventSchema },
    next_cursor: { type: ['string', 'null'] },
  },
} as const;

/** Registers the search routes. */
export function registerEventRoutes(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  const onRequest = requireScope('read');
  app.get(
    '/v1/events',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Stored events, newest first.',
        querystring: listQuery,
        response: { 200: pageSchema },
      },
    },
    async (request, reply) => {
      const { query, page } = listRequest(request.query as ListQuery, dependencies.clock.now());
      const tenantIds = visibleTenants(request, dependencies);
      const found = await read(dependencies, 'events', tenantIds, (client) =>
        searchEvents(client, tenantIds, query, page),
      );
      const last = found.events.at(-1);
      const cursor = found.hasMore && last !== undefined ? formatCursor(placeOf(last)) : null;
      return reply.type('application/json; charset=utf-8').send(pageJson(found.events, cursor));
    },
  );
  const params = { type: 'object', properties: { event_id: nameText }, required: ['event_id'] } as const;
  const querystring = {
    type: 'object',
    additionalProperties: false,
    properties: { tenant_id: commonQuery.tenant_id },
  } as const;
  app.get(
    '/v1/events/:event_id',
    {
      onRequest,
      schema: {
        tags,
        summary: 'One stored event; the newest when its id was used again.',
        params,
        querystring,
        response: { 200: eventSchema },
      },
    },
    async (request, reply) => {
      const event = await findEvent(request, dependencies);
      return reply.type('application/json; charset=utf-8').send(eventJson(event));
    },
  );
  app.get(
    '/v1/events/:event_id/raw',
    {
      onRequest,
      schema: {
        tags,
        summary: 'The original bytes of a stored event, as they were accepted.',
        params,
        querystring,
      },
    },
    async (request, reply) => {
      const event = await findEvent(request, dependencies);
      const record = await readRawRecord(dependencies, event.position);
      if (record.kind !== 'found' || record.record.headers[header.tenant] !== event.tenant_id) {
        throw storeError(
          'PULSE_STORE_ORIGINAL_GONE',
          `The raw record of ${event.event_id} is no longer in the log.`,
        );
      }
      // Never as the type that the sender claims: a browser must not run what a client has sent.
      return reply
        .type('application/octet-stream')
        .header('content-disposition', 'attachment')
        .send(Buffer.from(record.record.value));
    },
  );
}

async function findEvent(
  request: FastifyRequest,
  dependencies: StoreRouteDependencies,
): Promise<StoredEvent> {
  const { event_id: eventId } = request.params as { readonly event_id: string };
  const tenantIds = visibleTenants(request, dependencies);
  const filter: EventFilter = { ...anything, eventId };
  const { events } = await read(dependencies, 'event', tenantIds, (client) =>
    searchEvents(client, tenantIds, filter, { limit: 1, after: null, nowMs: dependencies.clock.now() }),
  );
  if (events[0] === undefined)
    throw storeError('PULSE_STORE_EVENT_UNKNOWN', `There is no event '${eventId.slice(0, 200)}'.`);
  return events[0];
}

const anything: EventFilter = {
  eventId: null,
  idempotencyKey: null,
  requestId: null,
  eventType: null,
  predicate: null,
  fromMs: null,
  toMs: null,
};

function listRequest(
  query: ListQuery,
  nowMs: number,
): { readonly query: EventFilter; readonly page: PageRequest } {
  const filter: EventFilter = {
    ...readRange(query),
    eventId: query.event_id ?? null,
    idempotencyKey: query.idempotency_key ?? null,
    requestId: query.request_id ?? null,
    eventType: query.event_type ?? null,
    predicate: query.q ?? null,
  };
  const after = query.cursor === undefined ? null : parseCursor(query.cursor);
  const page = { limit: query.limit, after, nowMs };
  // A predicate has no index: unless something else bounds the search, it looks at one day.
  const isBounded = filter.fromMs !== null || isPointSearch(filter);
  if (filter.predicate === null || isBounded) return { query: filter, page };
  const endMs = filter.toMs ?? page.after?.receivedAtMs ?? nowMs;
  return { query: { ...filter, fromMs: dayBefore(endMs) }, page };
}

function placeOf(event: StoredEvent) {
  return { receivedAtMs: Date.parse(event.received_at), position: event.position };
}
