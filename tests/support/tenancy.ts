// Tenancy on a real database: directories, keys, and the tenancy routes on a Fastify application of their own.
import { type FastifyInstance, fastify } from 'fastify';
import { type Logger, pino } from 'pino';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { PulseError } from '../../src/core/errors.ts';
import { internalError, problemBody, problemHeaders } from '../../src/core/problem.ts';
import { readSettings, type SettingValues } from '../../src/core/settings.ts';
import type { Database } from '../../src/database/types.ts';
import { type CreatedKey, createKey } from '../../src/tenancy/api-keys.ts';
import type { Actor } from '../../src/tenancy/audit.ts';
import { tenancySettings } from '../../src/tenancy/config.ts';
import { type OpenDirectory, openDirectory } from '../../src/tenancy/directory.ts';
import { parseNewKey } from '../../src/tenancy/key-input.ts';
import { registerAuthentication } from '../../src/tenancy/request-authentication.ts';
import { registerTenancyRoutes } from '../../src/tenancy/routes.ts';
import { parseNewTenant } from '../../src/tenancy/tenant-input.ts';
import { createTenant } from '../../src/tenancy/tenants.ts';
import type { Scope } from '../../src/tenancy/types.ts';
import { silentLogger, type TestScope, testDatabase } from './database.ts';

export const adminToken = 'test-admin-token-0123456789abcdef';
export const administrator: Actor = { name: 'admin', requestId: null };

/** The settings of tenancy with some values changed. */
function settingsWith(
  changes: Partial<SettingValues<typeof tenancySettings>> = {},
): SettingValues<typeof tenancySettings> {
  return { ...readSettings(tenancySettings, {}), ...changes };
}

/** A directory that is closed when the test has ended. */
export async function testDirectory(
  t: TestScope,
  options: { database: Database; clock?: Clock; logger?: Logger; refreshMs?: number },
): Promise<OpenDirectory> {
  const directory = await openDirectory({
    database: options.database,
    clock: options.clock ?? systemClock,
    logger: options.logger ?? silentLogger,
    settings: settingsWith({ PULSE_TENANCY_REFRESH_MS: options.refreshMs ?? 1_000 }),
  });
  t.after(() => directory.close());
  return directory;
}

/** Creates a tenant with the given fields of `POST /v1/tenants`. */
export async function addTenant(
  database: Database,
  tenantId: string,
  fields: Record<string, unknown> = {},
): Promise<void> {
  const tenant = parseNewTenant({ tenant_id: tenantId, ...fields });
  await createTenant({ database, clock: systemClock }, administrator, tenant);
}

/** Creates a key. */
export async function addKey(
  database: Database,
  tenantId: string,
  scopes: readonly Scope[],
  options: { name?: string; clock?: Clock; keysMax?: number; expiresAt?: string } = {},
): Promise<CreatedKey> {
  const clock = options.clock ?? systemClock;
  const name = options.name ?? scopes.join('+');
  const wanted = parseNewKey({ name, scopes, expires_at: options.expiresAt ?? null }, clock.now());
  const context = { database, clock, keysMax: options.keysMax ?? 100 };
  return await createKey(context, administrator, tenantId, wanted);
}

export interface TenancyApp {
  readonly app: FastifyInstance;
  readonly database: Database;
  readonly ownerUrl: string;
  readonly directory: OpenDirectory;
  /** Every line that was logged. */
  readonly logLines: readonly string[];
  /** Calls a route. `credential` goes into X-API-Key; null sends none. */
  call(method: Method, url: string, credential: string | null, body?: unknown): Promise<CallAnswer>;
}

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export interface CallAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Readonly<Record<string, unknown>>;
}

/** The tenancy routes on a fresh database. */
export async function tenancyApp(t: TestScope): Promise<TenancyApp> {
  const { database, ownerUrl } = await testDatabase(t);
  const logLines: string[] = [];
  const stream = { write: (line: string) => void logLines.push(line) };
  const logger = pino({ level: 'trace' }, stream);
  const directory = await testDirectory(t, { database, logger });
  const app = fastify({ logger: { level: 'trace', stream } });
  app.setErrorHandler((error, request, reply) => {
    const known = error instanceof PulseError ? error : internalError(error);
    if (known !== error) logger.error({ err: error }, 'unexpected error');
    return reply.code(known.status).headers(problemHeaders(known)).send(problemBody(known, request.id));
  });
  registerAuthentication(app, { directory, adminToken });
  registerTenancyRoutes(app, {
    database,
    directory,
    clock: systemClock,
    logger,
    settings: settingsWith(),
  });
  t.after(async () => {
    await app.close();
  });
  const call: TenancyApp['call'] = async (method, url, credential, body) => {
    const answer = await app.inject({
      method,
      url,
      headers: credential === null ? {} : { 'x-api-key': credential },
      ...(body === undefined ? {} : { payload: body as object }),
    });
    return {
      status: answer.statusCode,
      body: answer.json<Record<string, unknown>>(),
      headers: answer.headers,
    };
  };
  return { app, database, ownerUrl, directory, logLines, call };
}
