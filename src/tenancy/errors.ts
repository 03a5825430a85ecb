// Errors of tenancy: credentials, scopes, tenants, keys, the directory and the audit log.
import { defineErrors } from '../core/errors.ts';

export const tenancyError = defineErrors({
  PULSE_TENANCY_CREDENTIAL_MISSING: {
    status: 401,
    title: 'The request carries no credential.',
    retryable: false,
    next: 'Send an API key as `X-API-Key: pk_…`, as `Authorization: Bearer pk_…`, or as Basic user with an empty password.',
  },
  PULSE_TENANCY_CREDENTIAL_INVALID: {
    status: 401,
    title: 'The credential is not valid.',
    retryable: false,
    next: 'Use a live API key of an active tenant; POST /v1/tenants/{tenant_id}/keys makes a new one.',
  },
  PULSE_TENANCY_SCOPE_MISSING: {
    status: 403,
    title: 'The credential may not do this.',
    retryable: false,
    next: 'Use a key whose scopes hold the one that `scope_needed` names, or the admin token where it says platform.',
  },
  PULSE_TENANCY_TENANT_FOREIGN: {
    status: 403,
    title: 'The credential belongs to another tenant.',
    retryable: false,
    next: 'Leave tenant_id out to see your own tenant; only the admin token sees others.',
  },
  PULSE_TENANCY_TENANT_UNKNOWN: {
    status: 404,
    title: 'There is no such tenant.',
    retryable: false,
    next: 'GET /v1/tenants lists the tenants that this credential can see.',
  },
  PULSE_TENANCY_TENANT_EXISTS: {
    status: 409,
    title: 'A tenant with this id exists.',
    retryable: false,
    next: 'Choose another tenant_id, or change the existing tenant with PATCH /v1/tenants/{tenant_id}.',
  },
  PULSE_TENANCY_KEY_UNKNOWN: {
    status: 404,
    title: 'The tenant has no such key.',
    retryable: false,
    next: 'GET /v1/tenants/{tenant_id}/keys lists the keys of the tenant.',
  },
  PULSE_TENANCY_KEY_LIMIT: {
    status: 409,
    title: 'The tenant has as many live keys as it may.',
    retryable: false,
    next: 'Revoke one of the keys that `live_keys` lists, oldest first: DELETE /v1/tenants/{tenant_id}/keys/{key_id}.',
  },
  PULSE_TENANCY_REQUEST_INVALID: {
    status: 400,
    title: 'The request has values that are not allowed.',
    retryable: false,
    next: 'Mend every field that `errors` names; each entry says what was found and what is allowed.',
  },
  PULSE_TENANCY_DIRECTORY_STALE: {
    status: 503,
    title: 'Tenants and keys could not be read for too long.',
    retryable: true,
    next: 'Bring Postgres back; /readyz shows its state. Pulse goes on by itself.',
  },
  PULSE_TENANCY_AUDIT_CONFLICT: {
    status: 503,
    title: 'The audit log and its head do not agree, so nothing may be added.',
    retryable: false,
    next: 'Run `npm run pulse -- audit verify`; it names the first broken row. Nothing of this request was changed.',
  },
});
