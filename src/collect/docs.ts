// The two routes of collect for the OpenAPI description. Collect takes their requests before Fastify sees them, but for those
// whose target is spelt in another way: percent-encoded, or as a whole URL. Fastify finds their route, and hands them over.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { internalError, problemMediaType } from '../core/problem.ts';
import type { Collect } from './collect.ts';
import type { CollectPath } from './exchange.ts';

const receipt = {
  type: 'object',
  required: ['event_id', 'receipt_id'],
  properties: {
    event_id: { type: 'string', description: "The event's own id, or the one that Pulse gave it." },
    receipt_id: { type: 'string', description: 'Ask GET /v1/receipts/{receipt_id} where the event is now.' },
  },
} as const;

const nativeEvent = {
  type: 'object',
  description: 'A native event. Unknown members are kept.',
  required: ['event_type'],
  properties: {
    event_id: {
      type: 'string',
      maxLength: 512,
      description: 'Unique per tenant; an event with the same id is a duplicate.',
    },
    event_type: { type: 'string', maxLength: 512 },
    event_time: {
      type: 'string',
      description: 'ISO 8601; `timestamp` is read as well. Default: time of receipt.',
    },
    schema_version: { type: 'string' },
    subject: { type: 'string', maxLength: 512 },
    source: { type: 'string', maxLength: 512 },
    data: { description: 'Any JSON; `payload` and `properties` are read as well.' },
  },
} as const;

const accepted = {
  type: 'object',
  required: ['accepted', 'rejected', 'receipts', 'errors'],
  properties: {
    accepted: { type: 'integer' },
    rejected: { type: 'integer' },
    receipts: {
      type: 'array',
      items: {
        type: 'object',
        required: ['index', 'event_id', 'receipt_id'],
        properties: { index: { type: 'integer' }, ...receipt.properties },
      },
    },
    errors: {
      type: 'array',
      description: 'Lines of NDJSON that were refused.',
      items: {
        type: 'object',
        required: ['index', 'code', 'detail', 'pointer'],
        properties: {
          index: { type: 'integer' },
          code: { type: 'string' },
          detail: { type: 'string' },
          pointer: { type: 'string' },
        },
      },
    },
  },
} as const;

const headers = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      maxLength: 257,
      description:
        'The same key and body again within 30 minutes gives the same answer with Idempotency-Replayed: true and stores nothing.',
    },
    'x-request-id': { type: 'string', maxLength: 128 },
    'content-encoding': { type: 'string', description: 'gzip, deflate or br.' },
  },
} as const;

const problems: Readonly<Record<number, string>> = {
  400: 'Not JSON, not UTF-8, too deep, empty, or a malformed header. Nothing was stored.',
  401: 'No valid credential.',
  403: 'The credential may not ingest.',
  408: 'The body came too slowly.',
  409: 'A request with this Idempotency-Key is under way.',
  413: 'Over the limits of size or count. Nothing was stored.',
  415: 'An encoding or media type that is not supported.',
  422: 'The Idempotency-Key was used with another payload, or no line was accepted.',
  429: "Over the tenant's limit; see Retry-After.",
  503: 'Overloaded, stopping, or the log cannot write now; see Retry-After.',
};

function responses(ok: object): Record<number, object> {
  const all: Record<number, object> = { 202: { description: 'Every accepted event is durable.', ...ok } };
  for (const [status, description] of Object.entries(problems)) {
    const content = {
      [problemMediaType]: { schema: { type: 'object', additionalProperties: true } },
    };
    all[Number(status)] = { description, content };
  }
  return all;
}

/** Registers the routes for the description, and for requests that only Fastify recognises; `collect` is missing when none will come. */
export function registerCollectDocs(app: FastifyInstance, collect?: Pick<Collect, 'handle'>): void {
  const handler = async (): Promise<never> => {
    throw internalError(new Error('collect was not given to its routes'));
  };
  // Before Fastify reads the body, and instead of its schemas: those only describe.
  const handOver = (path: CollectPath) => async (request: FastifyRequest, reply: FastifyReply) => {
    if (collect === undefined) return;
    request.raw.url = path;
    reply.hijack();
    collect.handle(request.raw, reply.raw);
  };
  const batch = {
    type: 'object',
    required: ['events'],
    properties: { events: { type: 'array', items: nativeEvent } },
  };
  const anyEvents = { anyOf: [nativeEvent, { type: 'array', items: nativeEvent }, batch] };
  const text = { schema: { type: 'string' } };
  const cloudEvent = {
    type: 'object',
    required: ['specversion', 'id', 'source', 'type'],
    additionalProperties: true,
  };
  app.post('/v1/collect', {
    onRequest: handOver('/v1/collect'),
    schema: {
      tags: ['collect'],
      summary: 'Send events.',
      description:
        'One event, an array, {"events":[…]}, NDJSON (each line judged alone), or CloudEvents in structured, batch or binary mode. ' +
        'At most 1 MiB an event, 10 MiB and 10,000 events a request. Valid JSON that is no valid event is accepted and becomes a dead letter.',
      headers,
      body: {
        content: {
          'application/json': { schema: anyEvents },
          'application/x-ndjson': text,
          'application/cloudevents+json': { schema: cloudEvent },
          'application/cloudevents-batch+json': { schema: { type: 'array', items: cloudEvent } },
        },
      },
      response: responses(accepted),
    },
    handler,
  });
  app.post('/events', {
    onRequest: handOver('/events'),
    schema: {
      tags: ['collect'],
      summary: 'Send one event.',
      headers,
      body: nativeEvent,
      response: responses(receipt),
    },
    handler,
  });
}
