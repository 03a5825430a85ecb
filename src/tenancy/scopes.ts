// What a principal may do, and on whose data.
import { tenantIdPattern } from '../core/envelope.ts';
import { tenancyError } from './errors.ts';
import type { Directory, Principal, Scope } from './types.ts';

/** A principal that belongs to a tenant. */
export type KeyPrincipal = Extract<Principal, { kind: 'key' }>;

/** What a route may ask for: a scope of a key, or to be the platform administrator. */
export type NeededScope = Scope | 'platform';

/**
 * Whether the principal holds the scope. Roles: the platform administrator may all that needs no tenant of its own, so
 * not `ingest`; a tenant owner (scope admin) may everything of its tenant; an analyst (scope read) reads; a key with
 * only `ingest` cannot read.
 */
export function hasScope(principal: Principal, needed: NeededScope): boolean {
  if (principal.kind === 'admin') return needed !== 'ingest';
  if (needed === 'platform') return false;
  return principal.scopes.includes(needed) || principal.scopes.includes('admin');
}

/** Errors: PULSE_TENANCY_SCOPE_MISSING (403), with the scope needed in `details.scope_needed`. */
export function assertScope(principal: Principal, needed: NeededScope): void {
  if (!hasScope(principal, needed)) throw scopeMissing(principal, needed);
}

/**
 * The principal as the key that ingests for its tenant.
 * Errors: PULSE_TENANCY_SCOPE_MISSING (403); also for the administrator, who belongs to no tenant.
 */
export function assertIngest(principal: Principal): KeyPrincipal {
  if (principal.kind !== 'key' || !hasScope(principal, 'ingest')) throw scopeMissing(principal, 'ingest');
  return principal;
}

function scopeMissing(principal: Principal, needed: NeededScope): Error {
  const details = {
    scope_needed: needed,
    scopes: principal.kind === 'admin' ? ['platform'] : principal.scopes,
  };
  return tenancyError('PULSE_TENANCY_SCOPE_MISSING', missingText(principal, needed), { details });
}

function missingText(principal: Principal, needed: NeededScope): string {
  if (principal.kind === 'admin') {
    return 'The admin token belongs to no tenant, so it cannot ingest; use a key of the tenant with scope ingest.';
  }
  const held = `The key ${principal.keyId} has ${principal.scopes.join(', ')}`;
  if (needed === 'platform') return `${held}; this takes the admin token.`;
  return `${held}; this takes scope ${needed}.`;
}

/**
 * The tenants that a request may see: a key its own; the administrator all, or the one asked for.
 * Guarantees: never empty for a key. A key that names another tenant is refused the same way whether it exists or not.
 * Errors: PULSE_TENANCY_TENANT_FOREIGN (403), PULSE_TENANCY_TENANT_UNKNOWN (404, administrator only).
 */
export function tenantScope(
  principal: Principal,
  requestedTenantId: string | null | undefined,
  directory: Pick<Directory, 'tenant' | 'tenants'>,
): readonly string[] {
  const requested = requestedTenantId ?? null;
  if (principal.kind === 'key') {
    if (requested === null || requested === principal.tenantId) return [principal.tenantId];
    throw tenancyError(
      'PULSE_TENANCY_TENANT_FOREIGN',
      `The key belongs to tenant '${principal.tenantId}' and sees no other tenant.`,
    );
  }
  if (requested === null) return directory.tenants().map((tenant) => tenant.tenantId);
  if (directory.tenant(requested) === null) throw tenantUnknown(requested);
  return [requested];
}

/**
 * The tenant that a path names, when the principal may know of it.
 * Guarantees: the answer for a foreign tenant is that for a tenant that does not exist.
 * Errors: PULSE_TENANCY_TENANT_UNKNOWN (404).
 */
export function tenantOfPath(principal: Principal, tenantId: string): string {
  const isForeign = principal.kind === 'key' && principal.tenantId !== tenantId;
  if (isForeign || !tenantIdPattern.test(tenantId)) throw tenantUnknown(tenantId);
  return tenantId;
}

/** The error for a tenant that does not exist, or that the caller may not know of. */
export function tenantUnknown(tenantId: string): Error {
  return tenancyError('PULSE_TENANCY_TENANT_UNKNOWN', `There is no tenant '${tenantId.slice(0, 63)}'.`);
}
