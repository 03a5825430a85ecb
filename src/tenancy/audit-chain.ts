// How rows of the audit log are chained: the text that is hashed, and the hash. No I/O.
import { hash } from 'node:crypto';

/** The chain of acts on the platform itself. Tenant ids never start with `_`, so no tenant can own it. */
export const platformChain = '_platform';

/** The `previous_hash` of the first row of every chain. */
export const firstPreviousHash = '0'.repeat(64);

/** What one row says. Hashes are hexadecimal. */
export interface AuditContent {
  readonly tenantId: string;
  /** 1 for the first row of a chain, then without gaps. */
  readonly sequence: number;
  /** ISO 8601 UTC with microseconds, as Postgres keeps it: a change of any digit breaks the hash. */
  readonly at: string;
  /** `admin`, `key:<key_id>` or `system`. */
  readonly actor: string;
  /** For example `tenant.created`. */
  readonly action: string;
  /** What it was done to, for example a tenant id or `<tenant_id>/<key_id>`. */
  readonly target: string;
  readonly details: unknown;
  readonly previousHash: string;
}

/**
 * The hash of a row: SHA-256 over a JSON array of its fields in the order of `AuditContent`, objects with sorted member
 * names, since jsonb keeps no order.
 * What the chain proves: a row that is changed, removed or moved breaks it, and its head shows missing newest rows.
 * Who can rewrite all rows after a place and the head too leaves a consistent chain; keep a hash from `GET /v1/audit`
 * elsewhere to find that out.
 */
export function auditHash(row: AuditContent): string {
  const text = canonicalJson([
    'pulse.audit.1',
    row.tenantId,
    row.sequence,
    row.at,
    row.actor,
    row.action,
    row.target,
    row.details,
    row.previousHash,
  ]);
  return hash('sha256', text, 'hex');
}

/** JSON with object members in the order of their names. Only for values that JSON can hold. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value);
}
