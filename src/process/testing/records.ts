// Raw records for tests of this room.
import { header } from '../../core/envelope.ts';
import type { StoredRecord } from '../../ports/event-log/event-log.ts';
import type { Tenant } from '../../tenancy/types.ts';
import type { TopicFacts } from '../steps/identify.ts';

export const receivedAt = '2026-03-01T10:00:00.000Z';
export const receivedAtMs = Date.parse(receivedAt);

/** An active tenant on the shared topics. */
export function tenant(tenantId: string, facts: Partial<Tenant> = {}): Tenant {
  return {
    tenantId,
    name: tenantId,
    topics: 'shared',
    status: 'active',
    limits: { requestsPerMinute: 300 },
    clientAddressPolicy: 'keep',
    lookups: [],
    ...facts,
  };
}

/** Facts of a shared topic with the tenants `acme` and `globex`. */
export function sharedTopic(...tenants: readonly Tenant[]): TopicFacts {
  const known = tenants.length > 0 ? tenants : [tenant('acme'), tenant('globex')];
  return { epoch: 7, ownerId: null, tenantOf: (id) => known.find((one) => one.tenantId === id) ?? null };
}

/** A stored raw record of `acme`, as collect writes it; headers given as undefined are left out. */
export function rawRecord(
  value: string | Buffer | object,
  facts: { headers?: Record<string, string | undefined>; partition?: number; offset?: number } = {},
): StoredRecord {
  const headers: Record<string, string | undefined> = {
    [header.tenant]: 'acme',
    [header.receivedAt]: receivedAt,
    [header.protocol]: 'native',
    [header.attempt]: '1',
    ...facts.headers,
  };
  const kept = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const bytes = typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value);
  return {
    partition: facts.partition ?? 0,
    offset: facts.offset ?? 0,
    key: null,
    headers: Object.fromEntries(kept),
    value: Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes),
    appendTimeMs: receivedAtMs + 2,
  };
}
