// HTTP routes of tenants and keys. Answers are snake_case; the conversion is here and in audit-routes.ts.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.ts';
import { encodeCursor } from '../core/cursor.ts';
import { tenantIdPattern } from '../core/envelope.ts';
import type { SettingValues } from '../core/settings.ts';
import type { Database } from '../database/types.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type CreatedKey, createKey, isKeyId, type KeyRecord, listKeys, revokeKey } from './api-keys.ts';
import { type Actor, actorOf } from './audit.ts';
import type { tenancySettings } from './config.ts';
import { parseNewKey } from './key-input.ts';
import { QueryInput } from './query-input.ts';
import { registerReportRoutes } from './report-routes.ts';
import { principalOf, requireScope } from './request-authentication.ts';
import * as schemas from './route-schemas.ts';
import { assertScope, tenantOfPath } from './scopes.ts';
import { parseNewTenant, parseTenantChange } from './tenant-input.ts';
import { createTenant, listTenants, readTenant, type TenantRecord, updateTenant } from './tenants.ts';
import type { Directory } from './types.ts';

export interface TenancyDependencies {
  readonly database: Database;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<SettingValues<typeof tenancySettings>, 'PULSE_TENANCY_KEYS_MAX'>;
}

interface TenantPath {
  readonly Params: { readonly tenant_id: string };
}

interface KeyPath {
  readonly Params: { readonly tenant_id: string; readonly key_id: string };
}

/** Registers `/v1/tenants`, `/v1/usage` and `/v1/audit`. Needs `registerAuthentication` on the application first. */
export function registerTenancyRoutes(app: FastifyInstance, dependencies: TenancyDependencies): void {
  registerTenantRoutes(app, dependencies);
  registerKeyRoutes(app, dependencies);
  registerReportRoutes(app, dependencies);
}

function registerTenantRoutes(app: FastifyInstance, dependencies: TenancyDependencies): void {
  const { database, directory } = dependencies;
  const read = { ...schemas.describedOnly, onRequest: requireScope('read') };

  app.post(
    '/v1/tenants',
    { ...schemas.describedOnly, schema: schemas.createTenantSchema, onRequest: requireScope('platform') },
    async (request, reply) => {
      const tenant = await createTenant(dependencies, actor(request), parseNewTenant(request.body));
      await spread(dependencies);
      return reply.code(201).header('location', `/v1/tenants/${tenant.tenantId}`).send(tenantJson(tenant));
    },
  );

  app.get('/v1/tenants', { ...read, schema: schemas.listTenantsSchema }, async (request) => {
    const query = new QueryInput(request.query);
    const limit = query.limit();
    const after =
      query.cursor<[string]>(['string'], ([tenantId]) => tenantIdPattern.test(tenantId))?.[0] ?? null;
    query.finish();
    const principal = principalOf(request);
    const visible = principal.kind === 'admin' ? null : [principal.tenantId];
    const tenants = await listTenants(database, directory, { visible, after, limit });
    const last = tenants.length === limit ? tenants.at(-1) : undefined;
    return {
      tenants: tenants.map(tenantJson),
      next_cursor: last === undefined ? null : encodeCursor([last.tenantId]),
    };
  });

  app.get<TenantPath>(
    '/v1/tenants/:tenant_id',
    { ...read, schema: schemas.getTenantSchema },
    async (request) => {
      return tenantJson(await readTenant(database, pathTenant(request)));
    },
  );

  app.patch<TenantPath>(
    '/v1/tenants/:tenant_id',
    { ...schemas.describedOnly, schema: schemas.updateTenantSchema, onRequest: requireScope('admin') },
    async (request) => {
      const tenantId = pathTenant(request);
      const change = parseTenantChange(request.body);
      // An owner who could raise its own limit, or lift its suspension, would have neither.
      if (change.limits !== undefined || change.status !== undefined) {
        assertScope(principalOf(request), 'platform');
      }
      const tenant = await updateTenant(dependencies, actor(request), tenantId, change);
      await spread(dependencies);
      return tenantJson(tenant);
    },
  );
}

function registerKeyRoutes(app: FastifyInstance, dependencies: TenancyDependencies): void {
  const { database, clock, settings } = dependencies;
  const owner = { ...schemas.describedOnly, onRequest: requireScope('admin') };

  app.post<TenantPath>(
    '/v1/tenants/:tenant_id/keys',
    { ...owner, schema: schemas.createKeySchema },
    async (request, reply) => {
      const tenantId = pathTenant(request);
      const wanted = parseNewKey(request.body, clock.now());
      const context = { database, clock, keysMax: settings.PULSE_TENANCY_KEYS_MAX };
      const key = await createKey(context, actor(request), tenantId, wanted);
      await spread(dependencies);
      return reply.code(201).header('cache-control', 'no-store').send(createdKeyJson(key));
    },
  );

  app.get<TenantPath>(
    '/v1/tenants/:tenant_id/keys',
    { ...owner, schema: schemas.listKeysSchema },
    async (request) => {
      const tenantId = pathTenant(request);
      const query = new QueryInput(request.query);
      const limit = query.limit();
      const before = query.cursor<[string]>(['string'], ([keyId]) => isKeyId(keyId))?.[0] ?? null;
      query.finish();
      const keys = await listKeys(database, tenantId, { before, limit });
      const last = keys.length === limit ? keys.at(-1) : undefined;
      return {
        keys: keys.map(keyJson),
        next_cursor: last === undefined ? null : encodeCursor([last.keyId]),
      };
    },
  );

  app.delete<KeyPath>(
    '/v1/tenants/:tenant_id/keys/:key_id',
    { ...owner, schema: schemas.revokeKeySchema },
    async (request) => {
      const tenantId = pathTenant(request);
      const key = await revokeKey(dependencies, actor(request), tenantId, request.params.key_id);
      await spread(dependencies);
      return keyJson(key);
    },
  );
}

function pathTenant(request: FastifyRequest<TenantPath>): string {
  return tenantOfPath(principalOf(request), request.params.tenant_id);
}

function actor(request: Pick<FastifyRequest, 'id' | 'principal' | 'routeOptions'>): Actor {
  return actorOf(principalOf(request), request.id);
}

/** Lets this process know at once. Others learn within a second, and so does this one when the read fails. */
async function spread(dependencies: TenancyDependencies): Promise<void> {
  try {
    await dependencies.directory.refresh();
  } catch (error) {
    dependencies.logger.warn(
      { err: error },
      'the change is done, but the directory could not be read again yet',
    );
  }
}

function tenantJson(tenant: TenantRecord): Record<string, unknown> {
  return {
    tenant_id: tenant.tenantId,
    name: tenant.name,
    topics: tenant.topics,
    status: tenant.status,
    limits: { requests_per_minute: tenant.limits.requestsPerMinute },
    client_address_policy: tenant.clientAddressPolicy,
    lookups: tenant.lookups,
    created_at: tenant.createdAt,
  };
}

function keyJson(key: KeyRecord): Record<string, unknown> {
  return {
    key_id: key.keyId,
    tenant_id: key.tenantId,
    name: key.name,
    scopes: key.scopes,
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
  };
}

function createdKeyJson(key: CreatedKey): Record<string, unknown> {
  return { ...keyJson(key), api_key: key.apiKey };
}
