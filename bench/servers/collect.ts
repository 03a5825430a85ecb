// Collect alone, as the front runs it: real collect over the real embedded log, keys in memory, limiter, idempotency.
// No Postgres, no other stage, nobody reads. Prints its port; ends with its standard input.
import { createServer } from 'node:http';
import { join } from 'node:path';
import process from 'node:process';
import { collectServerOptions, collectSettings, createCollect } from '../../src/collect/index.ts';
import { systemClock } from '../../src/core/clock.ts';
import { readSettings } from '../../src/core/settings.ts';
import { eventLogSettings } from '../../src/ports/event-log/config.ts';
import { createEmbeddedEventLog } from '../../src/ports/event-log/embedded/index.ts';
import { createMemoryRateLimiter } from '../../src/ports/rate-limiter/memory/index.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { authenticate } from '../../src/tenancy/authenticate.ts';
import { DirectoryState } from '../../src/tenancy/directory-state.ts';
import { hashApiKey } from '../../src/tenancy/keys.ts';
import type { Directory } from '../../src/tenancy/types.ts';
import { benchTenants } from '../lib/load.ts';

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: node collect.ts FOLDER');
const names = { raw: 'events.raw', valid: 'events.valid', dlq: 'events.dlq' };
const settings = { ...readSettings(eventLogSettings, {}), ...readSettings(collectSettings, {}) };
const logger = createLogger({ level: 'warn', process: 'bench-collect' });

const state = new DirectoryState(names);
for (const { tenantId, apiKey } of benchTenants(100)) {
  state.apply([
    {
      kind: 'tenant',
      entry: {
        tenant_id: tenantId,
        name: tenantId,
        topics: 'shared',
        status: 'active',
        requests_per_minute: 100_000_000,
        client_address_policy: 'truncate',
        lookups: [],
      },
    },
    {
      kind: 'key',
      entry: {
        tenant_id: tenantId,
        key_id: `key_${tenantId}`,
        key_hash: Buffer.from(hashApiKey(apiKey), 'base64url').toString('hex'),
        scopes: ['ingest'],
        expires_at_ms: null,
        revoked: false,
      },
    },
  ]);
}
const directory: Directory = {
  principal: (credential) => state.principal(credential, systemClock),
  tenant: (tenantId) => state.tenant(tenantId),
  tenants: () => state.tenants(),
  topics: (tenantId) => state.topics(tenantId) ?? names,
  topicSets: () => state.topicSets(),
  refresh: async () => {},
  close: async () => {},
};

const log = await createEmbeddedEventLog({ directory: join(folder, 'log'), settings, logger });
const partitions = settings.PULSE_LOG_EVENT_PARTITIONS;
await log.createTopic(names.raw, { partitions, retentionMs: 0, retentionBytes: 0 });
const raw = { topic: names.raw, partitions, epoch: 1 };
const limiter = createMemoryRateLimiter({ clock: systemClock });
const collect = createCollect({
  log,
  directory,
  authenticate: (headers) => authenticate(headers, directory, 'pat_bench_admin_token_of_no_use'),
  limiter,
  clock: systemClock,
  logger,
  settings,
  rawTopic: () => raw,
});
await collect.start();
const server = createServer(collectServerOptions(settings), (request, response) => {
  if (!collect.handle(request, response)) response.writeHead(404).end();
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});

async function stop(): Promise<void> {
  await collect.drain();
  server.closeAllConnections();
  await log.close();
  await limiter.close();
  process.exit(0);
}
process.stdin.resume();
process.stdin.on('end', () => void stop());
