// API keys as rows: create, list, revoke. The key itself leaves this file once, as the answer to its creation.
import { uuidv7 } from '../core/ids.ts';
import { formatTime } from '../core/time.ts';
import type { Database, Queryable } from '../database/types.ts';
import type { Actor } from './audit.ts';
import { tenancyError } from './errors.ts';
import type { NewKey } from './key-input.ts';
import { hashApiKey, newApiKey } from './keys.ts';
import { tenantUnknown } from './scopes.ts';
import { performAct, type TenancyContext } from './tenants.ts';
import type { Scope } from './types.ts';

/** A key as it is kept: everything but the key. Times are ISO 8601 UTC. */
export interface KeyRecord {
  readonly tenantId: string;
  readonly keyId: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
}

/** A new key, with the secret that nobody can be shown again. */
export interface CreatedKey extends KeyRecord {
  readonly apiKey: string;
}

/** True for the form of a key id; whatever else a caller names is unknown without asking Postgres. */
export function isKeyId(text: string): boolean {
  return /^key_[0-9a-f]{32}$/.test(text);
}

/** Live keys of one name: the one in use and the one that replaces it. */
const keysPerNameMax = 2;

/**
 * Creates a key. Two live keys may share a name, so that a key is rotated without a gap: make the second, move the
 * callers over, revoke the first.
 * Guarantees: concurrent calls never make a third, nor more than `keysMax` live keys of the tenant.
 * Errors: PULSE_TENANCY_KEY_LIMIT (409) with the keys to choose from in `details.live_keys`, oldest first;
 * PULSE_TENANCY_TENANT_UNKNOWN (404).
 */
export async function createKey(
  context: TenancyContext & { readonly keysMax: number },
  actor: Actor,
  tenantId: string,
  key: NewKey,
): Promise<CreatedKey> {
  const atMs = context.clock.now();
  return await performAct(context.database, { actor, atMs, tenantId }, async (client) => {
    const { rows } = await client.query('SELECT FROM tenants WHERE tenant_id = $1', [tenantId]);
    if (rows.length === 0) throw tenantUnknown(tenantId);
    // The chain of the tenant is locked, so nobody else adds a key between counting and inserting.
    await assertRoom(client, tenantId, key.name, context.keysMax, atMs);
    const created = await insertKey(client, tenantId, key, atMs);
    const { keyId, name, scopes, expiresAt } = created;
    const details = { key_id: keyId, name, scopes, expires_at: expiresAt };
    return { result: created, record: { action: 'key.created', target: `${tenantId}/${keyId}`, details } };
  });
}

async function assertRoom(
  client: Queryable,
  tenantId: string,
  name: string,
  keysMax: number,
  nowMs: number,
): Promise<void> {
  const { rows } = await client.query<{ key_id: string; name: string; created_at: Date }>(
    `SELECT key_id, name, created_at FROM api_keys
     WHERE tenant_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
     ORDER BY created_at, key_id`,
    [tenantId, formatTime(nowMs)],
  );
  const namesakes = rows.filter((row) => row.name === name);
  const isNameFull = namesakes.length >= keysPerNameMax;
  if (!isNameFull && rows.length < keysMax) return;
  const live = isNameFull ? namesakes : rows;
  const oldest = live[0]?.key_id;
  throw tenancyError(
    'PULSE_TENANCY_KEY_LIMIT',
    isNameFull
      ? `Tenant '${tenantId}' has ${namesakes.length} live keys named '${name}', and at most ${keysPerNameMax} are allowed. Revoke ${oldest}, the older one, or choose another name.`
      : `Tenant '${tenantId}' has ${rows.length} live keys, and at most ${keysMax} are allowed. Revoke ${oldest}, the oldest, or another.`,
    {
      details: {
        live_keys: live.slice(0, 20).map((row) => ({
          key_id: row.key_id,
          name: row.name,
          created_at: row.created_at.toISOString(),
        })),
      },
    },
  );
}

/** Makes a key and inserts its row. */
export async function insertKey(
  client: Queryable,
  tenantId: string,
  key: NewKey,
  atMs: number,
): Promise<CreatedKey> {
  const apiKey = newApiKey();
  const keyId = `key_${uuidv7(atMs).replaceAll('-', '')}`;
  const createdAt = formatTime(atMs);
  const expiresAt = key.expiresAtMs === null ? null : formatTime(key.expiresAtMs);
  await client.query(
    `INSERT INTO api_keys (tenant_id, key_id, name, key_hash, scopes, created_at, expires_at, revision)
     VALUES ($1, $2, $3, $4, $5::text[], $6, $7, 0)`,
    [
      tenantId,
      keyId,
      key.name,
      Buffer.from(hashApiKey(apiKey), 'base64url'),
      key.scopes,
      createdAt,
      expiresAt,
    ],
  );
  const { name, scopes } = key;
  return { tenantId, keyId, apiKey, name, scopes, createdAt, expiresAt, revokedAt: null };
}

/** Keys of a tenant, newest first: those below `before`, at most `limit`; revoked and expired ones too. */
export async function listKeys(
  database: Database,
  tenantId: string,
  options: { readonly before: string | null; readonly limit: number },
): Promise<readonly KeyRecord[]> {
  return await database.withTenant(tenantId, async (client) => {
    const tenants = await client.query('SELECT FROM tenants WHERE tenant_id = $1', [tenantId]);
    if (tenants.rows.length === 0) throw tenantUnknown(tenantId);
    // Key ids are UUIDv7, so they sort by the time of creation.
    const { rows } = await client.query<KeyColumns>(
      `SELECT ${keyColumns} FROM api_keys
       WHERE tenant_id = $1 AND ($2::text IS NULL OR key_id < $2) ORDER BY key_id DESC LIMIT $3`,
      [tenantId, options.before, options.limit],
    );
    return rows.map(keyOf);
  });
}

/**
 * Revokes a key for ever; returns it. Revoking it again changes nothing.
 * Errors: PULSE_TENANCY_KEY_UNKNOWN (404).
 */
export async function revokeKey(
  context: TenancyContext,
  actor: Actor,
  tenantId: string,
  keyId: string,
): Promise<KeyRecord> {
  if (!isKeyId(keyId)) throw keyUnknown(tenantId);
  const atMs = context.clock.now();
  return await performAct(context.database, { actor, atMs, tenantId }, async (client) => {
    const { rows } = await client.query<KeyColumns>(
      `SELECT ${keyColumns} FROM api_keys WHERE tenant_id = $1 AND key_id = $2`,
      [tenantId, keyId],
    );
    if (rows[0] === undefined) throw keyUnknown(tenantId);
    const key = keyOf(rows[0]);
    if (key.revokedAt !== null) return { result: key, record: null };
    const revokedAt = formatTime(atMs);
    await client.query('UPDATE api_keys SET revoked_at = $3 WHERE tenant_id = $1 AND key_id = $2', [
      tenantId,
      keyId,
      revokedAt,
    ]);
    const details = { key_id: keyId, name: key.name };
    return {
      result: { ...key, revokedAt },
      record: { action: 'key.revoked', target: `${tenantId}/${keyId}`, details },
    };
  });
}

function keyUnknown(tenantId: string): Error {
  return tenancyError('PULSE_TENANCY_KEY_UNKNOWN', `Tenant '${tenantId}' has no such key.`);
}

const keyColumns = 'tenant_id, key_id, name, scopes, created_at, expires_at, revoked_at';

interface KeyColumns {
  readonly tenant_id: string;
  readonly key_id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
}

function keyOf(row: KeyColumns): KeyRecord {
  return {
    tenantId: row.tenant_id,
    keyId: row.key_id,
    name: row.name,
    scopes: row.scopes,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  };
}
