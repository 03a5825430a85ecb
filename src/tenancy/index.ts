// Tenancy as the other rooms see it. Acts on tenants and keys are in tenants.ts, api-keys.ts and audit.ts.
export { authenticate } from './authenticate.ts';
export { principalOf, registerAuthentication, requireScope } from './request-authentication.ts';
export { registerTenancyRoutes } from './routes.ts';
export { tenantScope } from './scopes.ts';
export type { Directory } from './types.ts';
