// Collect behind a real HTTP server on a free port, with the memory log, for tests of the collect room.
import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { type CollectSettings, collectSettings } from '../../src/collect/config.ts';
import type { Collect } from '../../src/collect/index.ts';
import { collectServerOptions, createCollect } from '../../src/collect/index.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { defineErrors } from '../../src/core/errors.ts';
import { readSettings } from '../../src/core/settings.ts';
import type { EventLog } from '../../src/ports/event-log/event-log.ts';
import { createMemoryRateLimiter } from '../../src/ports/rate-limiter/memory/index.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import type { ClientAddressPolicy, Directory, Principal, Scope, Tenant } from '../../src/tenancy/types.ts';
import { MemoryEventLog } from './memory-event-log.ts';

const testError = defineErrors({
  PULSE_TESTAUTH_UNKNOWN: {
    status: 401,
    title: 'No valid credential.',
    retryable: false,
    next: 'Send a key.',
  },
});

export const rawTopic = 'events.raw';

export interface CollectServerOptions {
  readonly log?: EventLog;
  readonly clock?: Clock;
  readonly settings?: Partial<CollectSettings>;
  readonly tenants?: readonly Tenant[];
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever the server said
  readonly json: any;
}

export interface CollectServer {
  readonly collect: Collect;
  /** The log when none was given. */
  readonly log: MemoryEventLog;
  readonly port: number;
  post(path: string, body: string | Buffer, headers?: Record<string, string>): Promise<Answer>;
}

export function testTenant(tenantId: string, facts: Partial<Tenant> = {}): Tenant {
  return {
    tenantId,
    name: tenantId,
    topics: 'shared',
    status: 'active',
    limits: { requestsPerMinute: 100_000 },
    clientAddressPolicy: 'keep' as ClientAddressPolicy,
    lookups: [],
    ...facts,
  };
}

/** Keys of tests are `<tenant>` (ingest), `<tenant>:read`, and `admin`. */
function testAuthenticate(directory: Directory): (headers: IncomingHttpHeaders) => Principal {
  return (headers) => {
    const credential = String(headers['x-api-key'] ?? '');
    if (credential === 'admin') return { kind: 'admin' };
    const [tenantId, scope] = credential.split(':');
    if (tenantId === undefined || directory.tenant(tenantId) === null) {
      throw testError('PULSE_TESTAUTH_UNKNOWN', 'The request has no valid key.');
    }
    return { kind: 'key', keyId: 'key_test', tenantId, scopes: [(scope ?? 'ingest') as Scope] };
  };
}

function testDirectory(tenants: readonly Tenant[]): Directory {
  const names = { raw: rawTopic, valid: 'events.valid', dlq: 'events.dlq' };
  return {
    principal: () => null,
    tenant: (tenantId) => tenants.find((tenant) => tenant.tenantId === tenantId) ?? null,
    tenants: () => tenants,
    topics: () => names,
    topicSets: () => [{ tenantId: null, names }],
    refresh: async () => {},
    close: async () => {},
  };
}

/** Starts it; everything ends with the test. */
export async function startCollect(
  t: TestContext,
  options: CollectServerOptions = {},
): Promise<CollectServer> {
  const clock = options.clock ?? systemClock;
  const memory = new MemoryEventLog(() => clock.now());
  const log = options.log ?? memory;
  const { partitions } = await log.createTopic(rawTopic, {
    partitions: 3,
    retentionMs: 0,
    retentionBytes: 0,
  });
  const directory = testDirectory(options.tenants ?? [testTenant('acme'), testTenant('globex')]);
  const settings = { ...readSettings(collectSettings, {}), ...options.settings };
  const limiter = createMemoryRateLimiter({ clock });
  const collect = createCollect({
    log,
    directory,
    authenticate: testAuthenticate(directory),
    limiter,
    clock,
    logger: createLogger({ level: 'silent', process: 'test' }),
    settings,
    rawTopic: async () => ({ topic: rawTopic, partitions, epoch: 7 }),
  });
  await collect.start();
  const server = createServer(collectServerOptions(settings), (request, response) => {
    if (!collect.handle(request, response)) response.writeHead(404).end('not of collect');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await collect.drain();
    await limiter.close();
  });
  return {
    collect,
    log: (options.log instanceof MemoryEventLog ? options.log : memory) as MemoryEventLog,
    port,
    post: (path, body, headers) => send(port, 'POST', path, body, headers),
  };
}

/** One request on a connection of its own; `X-API-Key: acme` unless told otherwise. */
export function send(
  port: number,
  method: string,
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        port,
        method,
        path,
        agent: false,
        headers: { 'x-api-key': 'acme', 'content-length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = String(response.headers['content-type']).includes('json') && text !== '';
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: isJson ? JSON.parse(text) : null,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
