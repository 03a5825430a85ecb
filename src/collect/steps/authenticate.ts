// Step: who is calling, and for which tenant. The tenant comes from the credential alone.
import type { IncomingHttpHeaders } from 'node:http';
import { assertIngest } from '../../tenancy/scopes.ts';
import type { Directory, Principal, Tenant } from '../../tenancy/types.ts';
import { collectError } from '../errors.ts';

export type Authenticate = (headers: IncomingHttpHeaders) => Principal;

/**
 * The tenant that the caller may send events for.
 * The administrator is refused: an event must belong to a tenant, and a header that names one could be chosen by the
 * caller (docs/adr/0005).
 * Errors: those of `authenticate` (401, 503), PULSE_TENANCY_SCOPE_MISSING (403), PULSE_COLLECT_TENANT_SUSPENDED.
 */
export function authenticateTenant(
  headers: IncomingHttpHeaders,
  authenticate: Authenticate,
  directory: Directory,
): Tenant {
  const principal = assertIngest(authenticate(headers));
  const tenant = directory.tenant(principal.tenantId);
  if (tenant === null || tenant.status === 'suspended') {
    throw collectError('PULSE_COLLECT_TENANT_SUSPENDED', `The tenant ${principal.tenantId} takes no events.`);
  }
  return tenant;
}
