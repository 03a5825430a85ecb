// Tenants as rows: create, change, read. Every change is recorded in the audit log in its own transaction.
import type { Clock } from '../core/clock.ts';
import { formatTime } from '../core/time.ts';
import type { Database, Queryable } from '../database/types.ts';
import { type Act, type Actor, auditChains, lockChains, recordAct } from './audit.ts';
import { tenancyError } from './errors.ts';
import { tenantUnknown } from './scopes.ts';
import type { NewTenant, TenantChange } from './tenant-input.ts';
import type { Directory, Tenant } from './types.ts';

/** What the acts on tenants and keys need. */
export interface TenancyContext {
  readonly database: Database;
  readonly clock: Clock;
}

/** A tenant as it is kept. */
export interface TenantRecord extends Tenant {
  /** ISO 8601 UTC. */
  readonly createdAt: string;
}

/**
 * Runs an act on a tenant or the platform: bound to the chains it is recorded in, one at a time for each of them.
 * Guarantees: the work and its record are committed together or not at all. `work` returns null for "nothing changed",
 * which is not recorded.
 */
export async function performAct<Result>(
  database: Database,
  act: Pick<Act, 'actor' | 'atMs' | 'tenantId'>,
  work: (
    client: Queryable,
  ) => Promise<{ readonly result: Result; readonly record: Omit<Act, 'actor' | 'atMs' | 'tenantId'> | null }>,
): Promise<Result> {
  const chains = auditChains(act.tenantId, act.actor);
  return await database.withTenants(chains, async (client) => {
    await lockChains(client, chains);
    const { result, record } = await work(client);
    if (record !== null) await recordAct(client, { ...act, ...record });
    return result;
  });
}

/**
 * Creates a tenant.
 * Errors: PULSE_TENANCY_TENANT_EXISTS (409).
 */
export async function createTenant(
  context: TenancyContext,
  actor: Actor,
  tenant: NewTenant,
): Promise<TenantRecord> {
  const atMs = context.clock.now();
  const { tenantId } = tenant;
  return await performAct(context.database, { actor, atMs, tenantId }, async (client) => {
    const created = await insertTenant(client, tenant, atMs);
    if (created === null) {
      throw tenancyError('PULSE_TENANCY_TENANT_EXISTS', `There is a tenant '${tenantId}' already.`);
    }
    const { name, topics } = created;
    const details = {
      name,
      topics,
      requests_per_minute: created.limits.requestsPerMinute,
      client_address_policy: created.clientAddressPolicy,
    };
    return { result: created, record: { action: 'tenant.created', target: tenantId, details } };
  });
}

/** Inserts the row; null when the id is taken. */
export async function insertTenant(
  client: Queryable,
  tenant: NewTenant,
  atMs: number,
): Promise<TenantRecord | null> {
  const { rows } = await client.query<TenantColumns>(
    `INSERT INTO tenants (tenant_id, name, topics, requests_per_minute, client_address_policy, lookups, created_at, revision)
     VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, 0) ON CONFLICT DO NOTHING RETURNING ${tenantColumns}`,
    [
      tenant.tenantId,
      tenant.name,
      tenant.topics,
      tenant.limits.requestsPerMinute,
      tenant.clientAddressPolicy,
      JSON.stringify(tenant.lookups),
      formatTime(atMs),
    ],
  );
  return rows[0] === undefined ? null : tenantOf(rows[0]);
}

/**
 * Changes the given fields of a tenant. Suspending one refuses its keys everywhere within seconds.
 * Errors: PULSE_TENANCY_TENANT_UNKNOWN (404).
 */
export async function updateTenant(
  context: TenancyContext,
  actor: Actor,
  tenantId: string,
  change: TenantChange,
): Promise<TenantRecord> {
  const atMs = context.clock.now();
  return await performAct(context.database, { actor, atMs, tenantId }, async (client) => {
    const before = await selectTenant(client, tenantId);
    if (before === null) throw tenantUnknown(tenantId);
    const wanted = { ...before, ...change };
    const details = changeDetails(before, wanted);
    if (Object.keys(details).length === 0) return { result: before, record: null };
    await client.query(
      `UPDATE tenants SET name = $2, status = $3, requests_per_minute = $4, client_address_policy = $5, lookups = $6::jsonb
       WHERE tenant_id = $1`,
      [
        tenantId,
        wanted.name,
        wanted.status,
        wanted.limits.requestsPerMinute,
        wanted.clientAddressPolicy,
        JSON.stringify(wanted.lookups),
      ],
    );
    return { result: wanted, record: { action: 'tenant.updated', target: tenantId, details } };
  });
}

/** What an audit row says about a change: each changed field, from and to. Lookups are long, so only their names. */
function changeDetails(before: Tenant, after: Tenant): Record<string, unknown> {
  const flat = (tenant: Tenant): Record<string, unknown> => ({
    name: tenant.name,
    status: tenant.status,
    requests_per_minute: tenant.limits.requestsPerMinute,
    client_address_policy: tenant.clientAddressPolicy,
  });
  const [from, to] = [flat(before), flat(after)];
  const details: Record<string, unknown> = {};
  for (const field of Object.keys(to)) {
    if (from[field] !== to[field]) details[field] = { from: from[field], to: to[field] };
  }
  if (JSON.stringify(before.lookups) !== JSON.stringify(after.lookups)) {
    const names = (tenant: Tenant): string[] => tenant.lookups.map((lookup) => lookup.name);
    details['lookups'] = { from: names(before), to: names(after) };
  }
  return details;
}

/** One tenant. Errors: PULSE_TENANCY_TENANT_UNKNOWN (404). */
export async function readTenant(database: Database, tenantId: string): Promise<TenantRecord> {
  const tenant = await database.withTenant(tenantId, (client) => selectTenant(client, tenantId));
  if (tenant === null) throw tenantUnknown(tenantId);
  return tenant;
}

/**
 * Tenants by id, those after `after`, at most `limit`. `visible` is who the caller may see; null for all.
 * Guarantees: complete at the time of the call; the directory is read again first.
 */
export async function listTenants(
  database: Database,
  directory: Pick<Directory, 'tenants' | 'refresh'>,
  options: {
    readonly visible: readonly string[] | null;
    readonly after: string | null;
    readonly limit: number;
  },
): Promise<readonly TenantRecord[]> {
  let ids = options.visible;
  if (ids === null) {
    await directory.refresh();
    ids = directory.tenants().map((tenant) => tenant.tenantId);
  }
  const page = ids
    .filter((tenantId) => options.after === null || tenantId > options.after)
    .slice(0, options.limit);
  return await database.withTenants(page, async (client) => {
    const { rows } = await client.query<TenantColumns>(
      `SELECT ${tenantColumns} FROM tenants WHERE tenant_id = ANY ($1::text[]) ORDER BY tenant_id`,
      [page],
    );
    return rows.map(tenantOf);
  });
}

async function selectTenant(client: Queryable, tenantId: string): Promise<TenantRecord | null> {
  const { rows } = await client.query<TenantColumns>(
    `SELECT ${tenantColumns} FROM tenants WHERE tenant_id = $1`,
    [tenantId],
  );
  return rows[0] === undefined ? null : tenantOf(rows[0]);
}

const tenantColumns =
  'tenant_id, name, topics, status, requests_per_minute, client_address_policy, lookups, created_at';

interface TenantColumns {
  readonly tenant_id: string;
  readonly name: string;
  readonly topics: Tenant['topics'];
  readonly status: Tenant['status'];
  readonly requests_per_minute: number;
  readonly client_address_policy: Tenant['clientAddressPolicy'];
  readonly lookups: Tenant['lookups'];
  readonly created_at: Date;
}

function tenantOf(row: TenantColumns): TenantRecord {
  return {
    tenantId: row.tenant_id,
    name: row.name,
    topics: row.topics,
    status: row.status,
    limits: { requestsPerMinute: row.requests_per_minute },
    clientAddressPolicy: row.client_address_policy,
    lookups: row.lookups,
    createdAt: row.created_at.toISOString(),
  };
}
