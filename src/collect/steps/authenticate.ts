// Step: who is calling, and for which tenant. The tenant comes from the credential alone.
import type { IncomingHttpHeaders } from 'node:http';
import type { Directory, Principal, Tenant } from '../../tenancy/types.ts';
import { collectError } from '../errors.ts';

export type Authenticate = (headers: IncomingHttpHeaders) => Principal;

/**
 * The tenant that the caller may send events for.
 * The administrator is refused: an event must belong to a tenant, and a header that names one could be chosen by the
 * caller (ADR 0012).
 * Errors: those of `authenticate` (401, 503), PULSE_COLLECT_FORBIDDEN, PULSE_COLLECT_TENANT_SUSPENDED.
 */
export function authenticateTenant(
  headers: IncomingHttpHeaders,
  authenticate: Authenticate,
  directory: Directory,
): Tenant {
  const principal = authenticate(headers);
  if (principal.kind === 'admin') {
    throw collectError(
      'PULSE_COLLECT_FORBIDDEN',
      'The admin token belongs to no tenant, so its events would have none.',
    );
  }
  if (!principal.scopes.includes('ingest')) {
    throw collectError(
      'PULSE_COLLECT_FORBIDDEN',
      `The key ${principal.keyId} has the scopes ${principal.scopes.join(', ')}; ingest is needed.`,
    );
  }
  const tenant = directory.tenant(principal.tenantId);
  if (tenant === null || tenant.status === 'suspended') {
    throw collectError('PULSE_COLLECT_TENANT_SUSPENDED', `The tenant ${principal.tenantId} takes no events.`);
  }
  return tenant;
}
