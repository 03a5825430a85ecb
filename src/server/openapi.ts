// The OpenAPI 3.1 frame: what every route shares. The routes' own schemas fill in the rest.
import type { FastifySchema, RouteOptions } from 'fastify';
import { version } from './version.ts';

export const openApiDocument = {
  openapi: '3.1.0',
  info: {
    title: 'Pulse',
    version,
    summary: 'Event data that a company can trust.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  tags: [
    { name: 'collect', description: 'Events in. A 202 means durable.' },
    { name: 'receipts', description: 'Where one accepted event is now.' },
    { name: 'events', description: 'Search and live tail.' },
    { name: 'analytics', description: 'Counts and rates.' },
    { name: 'dead letters', description: 'Events that broke a rule, with every failure found.' },
    { name: 'pipeline', description: 'How far each stage is.' },
    { name: 'tenancy', description: 'Tenants, keys, usage, audit.' },
    { name: 'operations', description: 'Health and metrics.' },
  ],
  components: {
    securitySchemes: {
      apiKey: { type: 'apiKey' as const, in: 'header' as const, name: 'X-API-Key' },
      bearer: { type: 'http' as const, scheme: 'bearer' },
      basic: { type: 'http' as const, scheme: 'basic' },
    },
    schemas: {
      Problem: {
        type: 'object' as const,
        description: 'RFC 9457 problem. Branch on `code`; `next` says what to do.',
        required: ['type', 'title', 'status', 'detail', 'code', 'next', 'request_id'],
        properties: {
          type: { type: 'string' as const },
          title: { type: 'string' as const },
          status: { type: 'integer' as const },
          detail: { type: 'string' as const },
          code: { type: 'string' as const },
          next: { type: 'string' as const },
          request_id: { type: 'string' as const },
        },
      },
    },
  },
};

/** Routes that anyone may call: health and metrics of a process are for its operator's network. */
const openRoutes = new Set(['/', '/healthz', '/readyz', '/metrics', '/openapi.json']);

interface DocumentedSchema extends FastifySchema {
  security?: readonly Record<string, readonly string[]>[];
}

/** Adds what all routes share to a route's documentation: credentials. */
export function withCommonResponses(input: {
  schema: FastifySchema | undefined;
  url: string;
  route?: RouteOptions;
}): {
  schema: FastifySchema;
  url: string;
} {
  const schema: DocumentedSchema = { ...(input.schema ?? {}) };
  if (!openRoutes.has(input.url) && !input.url.startsWith('/docs')) {
    schema.security = [{ apiKey: [] }, { bearer: [] }, { basic: [] }];
  }
  return { schema: schema as FastifySchema, url: input.url };
}
