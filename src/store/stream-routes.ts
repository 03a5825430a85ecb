// GET /v1/events/stream: the live tail by server-sent events.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { requireScope } from '../tenancy/index.ts';
import { commonQuery, type StoreRouteDependencies, visibleTenants } from './access.ts';
import { storeError } from './errors.ts';
import { showStreamClients } from './metrics.ts';
import { StreamClient } from './stream-client.ts';
import { parseStreamId } from './stream-id.ts';
import { Tail } from './tail.ts';

/** Between two heartbeats; also how long a revoked key may go on listening. */
const heartbeatMs = 3_000;

/** Registers the live tail. All clients of the application share one reader of the log. */
export function registerStreamRoute(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  const clients = new Set<StreamClient>();
  let tail: Tail | null = null;
  showStreamClients(() => clients.size);
  const allow = requireScope('read');
  // Before the server waits for open answers to end, which a stream never does by itself.
  app.addHook('preClose', async () => {
    for (const client of [...clients]) client.close();
  });
  app.get(
    '/v1/events/stream',
    {
      onRequest: allow,
      // A HEAD request would take a client's place and never say anything.
      exposeHeadRoute: false,
      schema: {
        tags: ['events'],
        summary: 'Live tail: valid events as they come, as server-sent events.',
        description:
          'Each message is a canonical envelope. Send Last-Event-ID (or last_event_id) to go on where a stream ended. `event: dropped` tells how many events a slow client has missed, `event: lost` how many records retention had removed.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            tenant_id: commonQuery.tenant_id,
            event_type: {
              type: 'string',
              maxLength: 4096,
              description: 'One type, or several with commas between.',
            },
            last_event_id: { type: 'string', maxLength: 16_384 },
          },
        },
        produces: ['text/event-stream'],
      } as object,
    },
    async (request, reply) => {
      const { PULSE_STORE_STREAM_CLIENTS: clientsMax, PULSE_STORE_STREAM_BUFFER_BYTES: bufferBytesMax } =
        dependencies.settings;
      if (clients.size >= clientsMax) {
        throw storeError('PULSE_STORE_STREAM_FULL', `All ${clientsMax} places of the live tail are taken.`, {
          retryAfterMs: 5_000,
        });
      }
      const tenantIds = visibleTenants(request, dependencies);
      tail ??= new Tail(dependencies.log, dependencies.directory, dependencies.logger);
      const response = reply.raw;
      const client = new StreamClient({
        tail,
        log: dependencies.log,
        response,
        tenantIds: new Set(tenantIds),
        topics: new Set(tenantIds.map((tenantId) => dependencies.directory.topics(tenantId).valid)),
        eventTypes: eventTypesOf(request),
        resume: resumeOf(request),
        bufferBytesMax,
      });
      clients.add(client);
      const timer = setInterval(() => {
        // The key may have been revoked since; asking again costs a look into memory.
        allow(request).then(
          () => client.heartbeat(),
          () => client.close(),
        );
      }, heartbeatMs);
      response.on('close', () => {
        clearInterval(timer);
        clients.delete(client);
        client.close();
      });
      reply.hijack();
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
        'x-request-id': request.id,
        'x-content-type-options': 'nosniff',
      });
      await client.start().catch((error: unknown) => {
        dependencies.logger.warn({ err: error, request_id: request.id }, 'a live tail ended early');
        client.close();
      });
    },
  );
}

function eventTypesOf(request: FastifyRequest): ReadonlySet<string> | null {
  const { event_type: types } = request.query as { readonly event_type?: string };
  return types === undefined || types === '' ? null : new Set(types.split(','));
}

function resumeOf(request: FastifyRequest) {
  const { last_event_id: inQuery } = request.query as { readonly last_event_id?: string };
  const id = request.headers['last-event-id'] ?? inQuery;
  return typeof id === 'string' && id !== '' ? parseStreamId(id) : null;
}
