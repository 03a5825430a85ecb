// Writing and reading the audit log. Every act is recorded in the transaction that does it, or it is not done.
import { formatTime } from '../core/time.ts';
import type { Database, Queryable } from '../database/types.ts';
import { type AuditContent, auditHash, firstPreviousHash, platformChain } from './audit-chain.ts';
import { tenancyError } from './errors.ts';
import type { Principal } from './types.ts';

/** Who acts. */
export interface Actor {
  /** `admin`, `key:<key_id>` or `system` (Pulse itself, for example at first start). */
  readonly name: string;
  /** The request that asked for it; null outside HTTP. */
  readonly requestId: string | null;
}

/** The actor of an HTTP request. */
export function actorOf(principal: Principal, requestId: string | null): Actor {
  return { name: principal.kind === 'admin' ? 'admin' : `key:${principal.keyId}`, requestId };
}

/** An act on a tenant or on the platform. */
export interface Act {
  readonly actor: Actor;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  /** Tenant that it concerns; null for the platform alone. */
  readonly tenantId: string | null;
  readonly action: string;
  readonly target: string;
  /** What is worth knowing later; JSON values only, never secrets. */
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * The chains that an act is recorded in: that of its tenant, so that owners see whatever happened to them, and the
 * platform's for everything that no key of the tenant did itself.
 */
export function auditChains(tenantId: string | null, actor: Actor): readonly string[] {
  if (tenantId === null) return [platformChain];
  return actor.name.startsWith('key:') ? [tenantId] : [platformChain, tenantId];
}

/**
 * Locks chains until the transaction ends, so that acts on them happen one after another. Call it before the act:
 * whatever the act reads then (how many keys are live) stays true until it is recorded.
 * The transaction must be bound to the chains.
 */
export async function lockChains(client: Queryable, chains: readonly string[]): Promise<void> {
  // Sorted by lock number, so that two transactions never wait for each other.
  await client.query(
    `SELECT pg_advisory_xact_lock(lock) FROM (
       SELECT DISTINCT hashtextextended('pulse.audit.' || chain, 0) AS lock FROM unnest($1::text[]) AS chain ORDER BY 1
     ) AS locks`,
    [chains],
  );
}

/**
 * Records an act in its chains, inside the transaction that does it and after `lockChains`.
 * Errors: PULSE_TENANCY_AUDIT_CONFLICT when a chain and its head disagree; the act must be rolled back.
 */
export async function recordAct(client: Queryable, act: Act): Promise<void> {
  for (const chain of auditChains(act.tenantId, act.actor)) await append(client, chain, act);
}

async function append(client: Queryable, chain: string, act: Act): Promise<void> {
  const heads = await client.query<{ sequence: number; hash: string }>(
    `SELECT sequence, encode(hash, 'hex') AS hash FROM audit_heads WHERE tenant_id = $1`,
    [chain],
  );
  const head = heads.rows[0];
  const { requestId } = act.actor;
  const content: AuditContent = {
    tenantId: chain,
    sequence: head === undefined ? 1 : head.sequence + 1,
    at: formatTime(act.atMs).replace('Z', '000Z'),
    actor: act.actor.name,
    action: act.action,
    target: act.target,
    details: requestId === null ? act.details : { ...act.details, request_id: requestId },
    previousHash: head?.hash ?? firstPreviousHash,
  };
  const hash = auditHash(content);
  const inserted = await client.query(
    `INSERT INTO audit_log (tenant_id, sequence, at, actor, action, target, details, previous_hash, hash)
     VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, decode($8, 'hex'), decode($9, 'hex'))
     ON CONFLICT DO NOTHING`,
    [
      chain,
      content.sequence,
      content.at,
      content.actor,
      content.action,
      content.target,
      JSON.stringify(content.details),
      content.previousHash,
      hash,
    ],
  );
  const moved = await client.query(
    `INSERT INTO audit_heads (tenant_id, sequence, hash) VALUES ($1, $2, decode($3, 'hex'))
     ON CONFLICT (tenant_id) DO UPDATE SET sequence = EXCLUDED.sequence, hash = EXCLUDED.hash
     WHERE audit_heads.sequence = EXCLUDED.sequence - 1`,
    [chain, content.sequence, hash],
  );
  if (inserted.rowCount !== 1 || moved.rowCount !== 1) {
    throw tenancyError(
      'PULSE_TENANCY_AUDIT_CONFLICT',
      `Row ${content.sequence} of the audit log of '${chain}' does not follow its head.`,
      { details: { chain, sequence: content.sequence } },
    );
  }
}

/** One row as read back. */
export interface AuditRow extends AuditContent {
  readonly hash: string;
}

/** The columns of `AuditRow`, in SQL. */
const auditColumns = `tenant_id, sequence,
  to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at, actor, action, target, details,
  encode(previous_hash, 'hex') AS previous_hash, encode(hash, 'hex') AS hash`;

interface AuditRowColumns {
  readonly tenant_id: string;
  readonly sequence: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly details: unknown;
  readonly previous_hash: string;
  readonly hash: string;
}

/** Rows of one chain, oldest first: those above a sequence, at most `limit`. */
export async function readAuditRows(
  client: Queryable,
  chain: string,
  above: number,
  limit: number,
): Promise<readonly AuditRow[]> {
  const { rows } = await client.query<AuditRowColumns>(
    `SELECT ${auditColumns} FROM audit_log WHERE tenant_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3`,
    [chain, above, limit],
  );
  return rows.map(auditRowOf);
}

/** Rows of one chain, newest first: those below a sequence and inside a range of time, at most `limit`. */
export async function listAuditRows(
  database: Database,
  chain: string,
  filter: { readonly below: number | null; readonly fromMs: number | null; readonly toMs: number | null },
  limit: number,
): Promise<readonly AuditRow[]> {
  const time = (timeMs: number | null): string | null => (timeMs === null ? null : formatTime(timeMs));
  return await database.withTenant(chain, async (client) => {
    const { rows } = await client.query<AuditRowColumns>(
      `SELECT ${auditColumns} FROM audit_log
       WHERE tenant_id = $1 AND ($2::bigint IS NULL OR sequence < $2)
         AND ($3::timestamptz IS NULL OR audit_log.at >= $3) AND ($4::timestamptz IS NULL OR audit_log.at < $4)
       ORDER BY sequence DESC LIMIT $5`,
      [chain, filter.below, time(filter.fromMs), time(filter.toMs), limit],
    );
    return rows.map(auditRowOf);
  });
}

function auditRowOf(row: AuditRowColumns): AuditRow {
  return {
    tenantId: row.tenant_id,
    sequence: row.sequence,
    at: row.at,
    actor: row.actor,
    action: row.action,
    target: row.target,
    details: row.details,
    previousHash: row.previous_hash,
    hash: row.hash,
  };
}
