// Tenancy as the other rooms see it.

export { createKey, listKeys, revokeKey } from './api-keys.ts';
export { type Act, type Actor, actorOf, auditChains, lockChains, recordAct } from './audit.ts';
export { authenticate } from './authenticate.ts';
export { ensureDemoTenant } from './demo.ts';
export { type OpenDirectory, openDirectory } from './directory.ts';
export { principalOf, registerAuthentication, requireScope } from './request-authentication.ts';
export { registerTenancyRoutes, type TenancyDependencies } from './routes.ts';
export {
  assertIngest,
  assertScope,
  hasScope,
  type KeyPrincipal,
  type NeededScope,
  tenantScope,
} from './scopes.ts';
export { createTenant, listTenants, performAct, readTenant, updateTenant } from './tenants.ts';
export { sharedTopicNames, topicNames } from './topics.ts';
export type { Directory, Lookup, Principal, Scope, Tenant, TopicNames } from './types.ts';
export { type AuditVerdict, verifyAudit } from './verify-audit.ts';
