// The tenant that a first start makes, so that a new user can send an event at once.
import { type Clock, systemClock } from '../core/clock.ts';
import type { Database } from '../database/types.ts';
import { insertKey } from './api-keys.ts';
import type { Actor } from './audit.ts';
import { requestsPerMinuteDefault } from './tenant-input.ts';
import { insertTenant, performAct } from './tenants.ts';

const demoTenantId = 'demo';
const pulseItself: Actor = { name: 'system', requestId: null };

/**
 * Creates tenant `demo` and a key with the scopes ingest and read, when there is no such tenant.
 * Guarantees: both or none; null when the tenant exists, whatever became of its keys: a revoked demo key stays revoked.
 * The key is returned this once. Directories learn of both with their next read.
 */
export async function ensureDemoTenant(
  database: Database,
  clock: Clock = systemClock,
): Promise<{ readonly tenantId: string; readonly apiKey: string } | null> {
  const atMs = clock.now();
  const act = { actor: pulseItself, atMs, tenantId: demoTenantId };
  return await performAct(database, act, async (client) => {
    const tenant = await insertTenant(
      client,
      {
        tenantId: demoTenantId,
        name: 'Demo',
        topics: 'shared',
        limits: { requestsPerMinute: requestsPerMinuteDefault },
        clientAddressPolicy: 'truncate',
        lookups: [],
      },
      atMs,
    );
    if (tenant === null) return { result: null, record: null };
    const key = await insertKey(
      client,
      demoTenantId,
      { name: 'first start', scopes: ['ingest', 'read'], expiresAtMs: null },
      atMs,
    );
    const details = { name: tenant.name, topics: tenant.topics, key_id: key.keyId, scopes: key.scopes };
    return {
      result: { tenantId: demoTenantId, apiKey: key.apiKey },
      record: { action: 'tenant.created', target: demoTenantId, details },
    };
  });
}
