// The read routes of this room on a real server, for tests.
import type { AddressInfo } from 'node:net';
import { silentLogger, type TestScope } from '../../../tests/support/database.ts';
import { readSettings } from '../../core/settings.ts';
import { createApp } from '../../server/app.ts';
import { registerAuthentication } from '../../tenancy/index.ts';
import { storeSettings } from '../config.ts';
import { registerStoreRoutes } from '../index.ts';
import { type Harness, keyOf } from './harness.ts';

const adminToken = 'the-administrator';

interface Answer {
  readonly status: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly body: any;
}

export interface Api {
  readonly url: string;
  /** GET with the key of a tenant, or with the admin token for `admin`. */
  get(path: string, as?: string): Promise<Answer>;
}

/** Serves the routes of this room until the test ends. */
export async function api(t: TestScope, h: Harness, environment: Record<string, string> = {}): Promise<Api> {
  const app = await createApp({ logger: silentLogger, serverOptions: {}, intercept: () => false });
  registerAuthentication(app, { directory: h.directory, adminToken });
  const { database, directory, log, clock } = h;
  const settings = { ...readSettings(storeSettings, environment), PULSE_DATABASE_POOL_SIZE: 8 };
  registerStoreRoutes(app, { database, directory, log, clock, settings, logger: silentLogger });
  await app.listen({ port: 0, host: '127.0.0.1' });
  t.after(() => app.close());
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  return {
    url,
    async get(path, as = 'acme') {
      const response = await fetch(url + path, { headers: headersOf(as) });
      const text = await response.text();
      return { status: response.status, text, body: text === '' ? null : JSON.parse(text) };
    },
  };
}

/** The credential of a tenant or of the administrator. */
export function headersOf(as: string): Record<string, string> {
  return { 'x-api-key': as === 'admin' ? adminToken : keyOf(as) };
}
