// The directory against a real Postgres: nothing is missed, nothing outlives its revocation, outages are bridged.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { silentLogger, type TestScope, testDatabase } from '../../tests/support/database.ts';
import { addKey, addTenant, administrator, testDirectory } from '../../tests/support/tenancy.ts';
import { ManualClock, systemClock } from '../core/clock.ts';
import { hasCode } from '../core/errors.ts';
import { migrate } from '../database/migrate.ts';
import type { Database } from '../database/types.ts';
import { revokeKey } from './api-keys.ts';
import { hashApiKey, newApiKey } from './keys.ts';
import { updateTenant } from './tenants.ts';

const context = (database: Database) => ({ database, clock: systemClock });

async function connect(t: TestScope, url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  // The database is dropped under it at the end of the test.
  client.on('error', () => {});
  await client.connect();
  t.after(() => client.end());
  return client;
}

/** The statements that make a key, without a commit of their own. */
async function insertKeyRow(client: Client, tenantId: string, keyId: string, apiKey: string): Promise<void> {
  await client.query("SELECT set_config('pulse.tenants', $1, true)", [tenantId]);
  await client.query(
    `INSERT INTO api_keys (tenant_id, key_id, name, key_hash, scopes, created_at, revision)
     VALUES ($1, $2, $2, $3, ARRAY['read'], now(), 0)`,
    [tenantId, keyId, Buffer.from(hashApiKey(apiKey), 'base64url')],
  );
}

/** The database with a switch that makes its statements fail, as when Postgres is down. */
function breakable(database: Database): Database & { isDown: boolean } {
  const wrapped = Object.create(database) as Database & { isDown: boolean };
  wrapped.isDown = false;
  wrapped.query = async (...statement: Parameters<Database['query']>) => {
    if (wrapped.isDown) throw new Error('connection refused');
    return (await database.query(...statement)) as never;
  };
  return wrapped;
}

describe('directory', () => {
  test('knows tenants, keys and topics from the start', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme', { limits: { requests_per_minute: 77 }, client_address_policy: 'drop' });
    await addTenant(database, 'big', { topics: 'dedicated' });
    const key = await addKey(database, 'acme', ['ingest']);
    const directory = await testDirectory(t, { database });
    assert.deepEqual(directory.principal(key.apiKey), {
      kind: 'key',
      keyId: key.keyId,
      tenantId: 'acme',
      scopes: ['ingest'],
    });
    assert.equal(directory.principal(newApiKey()), null);
    assert.equal(directory.tenant('acme')?.limits.requestsPerMinute, 77);
    assert.equal(directory.tenant('acme')?.clientAddressPolicy, 'drop');
    assert.equal(directory.tenant('nobody'), null);
    assert.deepEqual(
      directory.tenants().map((tenant) => tenant.tenantId),
      ['acme', 'big'],
    );
    const shared = { raw: 'events.raw', valid: 'events.valid', dlq: 'events.dlq' };
    const dedicated = { raw: 'big.events.raw', valid: 'big.events.valid', dlq: 'big.events.dlq' };
    assert.deepEqual(directory.topics('acme'), shared);
    assert.deepEqual(directory.topics('big'), dedicated);
    assert.deepEqual(directory.topicSets(), [
      { tenantId: null, names: shared },
      { tenantId: 'big', names: dedicated },
    ]);
    assert.throws(() => directory.topics('nobody'), /no tenant 'nobody'/);
  });

  test('a revoked key stops working in every process within 5 seconds, by itself', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    const key = await addKey(database, 'acme', ['ingest']);
    const directories = [await testDirectory(t, { database }), await testDirectory(t, { database })];
    for (const directory of directories) assert.ok(directory.principal(key.apiKey));
    await revokeKey(context(database), administrator, 'acme', key.keyId);
    const revokedAtMs = Date.now();
    while (directories.some((directory) => directory.principal(key.apiKey) !== null)) {
      assert.ok(Date.now() - revokedAtMs < 5_000, 'the key still works after 5 s');
      await delay(20);
    }
  });

  test('a new key works, and a suspended tenant does not, after the next read', async (t) => {
    const { database } = await testDatabase(t);
    const directory = await testDirectory(t, { database });
    await addTenant(database, 'acme');
    const key = await addKey(database, 'acme', ['ingest']);
    await directory.refresh();
    assert.ok(directory.principal(key.apiKey));
    await updateTenant(context(database), administrator, 'acme', { status: 'suspended' });
    await directory.refresh();
    assert.equal(directory.principal(key.apiKey), null);
    await updateTenant(context(database), administrator, 'acme', { status: 'active' });
    await directory.refresh();
    assert.ok(directory.principal(key.apiKey));
  });

  test('a key stops at its expiry without any read', async (t) => {
    const { database } = await testDatabase(t);
    const clock = new ManualClock();
    await addTenant(database, 'acme');
    const expiresAt = new Date(clock.now() + 60_000).toISOString();
    const key = await addKey(database, 'acme', ['read'], { clock, expiresAt });
    const directory = await testDirectory(t, { database, clock });
    clock.advance(59_999);
    assert.ok(directory.principal(key.apiKey));
    clock.advance(1);
    assert.equal(directory.principal(key.apiKey), null);
  });

  test('misses no change of a transaction that commits after younger ones', async (t) => {
    const { database, appUrl } = await testDatabase(t);
    await addTenant(database, 'acme');
    const directory = await testDirectory(t, { database, refreshMs: 4_000 });
    const slow = await connect(t, appUrl);
    const slowKey = newApiKey();
    await slow.query('BEGIN');
    await insertKeyRow(slow, 'acme', 'key_slow', slowKey);
    // Younger transactions commit and are read, while the older one is still open.
    for (const name of ['one', 'two', 'three']) {
      const key = await addKey(database, 'acme', ['read'], { name });
      await directory.refresh();
      assert.ok(directory.principal(key.apiKey), `key ${name} is not known`);
    }
    assert.equal(directory.principal(slowKey), null);
    await slow.query('COMMIT');
    await directory.refresh();
    assert.ok(directory.principal(slowKey), 'the change that committed late was missed');
  });

  test('misses no key while many transactions commit in any order', async (t) => {
    const { database, appUrl } = await testDatabase(t);
    await addTenant(database, 'acme');
    const directory = await testDirectory(t, { database, refreshMs: 50 });
    const clients = await Promise.all(Array.from({ length: 6 }, () => connect(t, appUrl)));
    const keys: string[] = [];
    await Promise.all(
      clients.map(async (client, writer) => {
        for (let i = 0; i < 20; i++) {
          const apiKey = newApiKey();
          await client.query('BEGIN');
          await insertKeyRow(client, 'acme', `key_${writer}_${i}`, apiKey);
          await delay(Math.random() * 15);
          await client.query('COMMIT');
          keys.push(apiKey);
        }
      }),
    );
    await directory.refresh();
    assert.equal(keys.filter((apiKey) => directory.principal(apiKey) === null).length, 0);
  });

  test('a refresh sees what was committed before it was asked for, though a read is under way', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    const directory = await testDirectory(t, { database });
    for (let i = 0; i < 10; i++) {
      const underWay = directory.refresh();
      const key = await addKey(database, 'acme', ['read'], { name: `key ${i}` });
      await directory.refresh();
      assert.ok(directory.principal(key.apiKey));
      await underWay;
    }
  });

  test('bridges ten minutes without Postgres, then refuses with a retryable error, and recovers by itself', async (t) => {
    const { database: real } = await testDatabase(t);
    const database = breakable(real);
    const clock = new ManualClock();
    await addTenant(real, 'acme');
    const key = await addKey(real, 'acme', ['ingest']);
    const directory = await testDirectory(t, { database, clock, refreshMs: 50 });
    database.isDown = true;
    await assert.rejects(directory.refresh());
    clock.advance(600_000);
    assert.ok(directory.principal(key.apiKey));
    clock.advance(1);
    assert.throws(
      () => directory.principal(key.apiKey),
      (error) =>
        hasCode(error, 'PULSE_TENANCY_DIRECTORY_STALE') && error.retryable && (error.retryAfterMs ?? 0) > 0,
    );
    assert.equal(directory.tenant('acme')?.tenantId, 'acme', 'stages that drain still know the tenant');
    await delay(120);
    assert.match(directory.status().lastError ?? '', /connection refused/);
    database.isDown = false;
    const deadlineMs = Date.now() + 5_000;
    while (directory.status().lastError !== null && Date.now() < deadlineMs) await delay(20);
    assert.ok(directory.principal(key.apiKey));
    assert.equal(directory.status().lastError, null);
  });

  test('rows that were removed behind its back are gone after the regular reload', async (t) => {
    const { database, ownerUrl } = await testDatabase(t);
    const clock = new ManualClock();
    await addTenant(database, 'acme');
    const key = await addKey(database, 'acme', ['read']);
    const directory = await testDirectory(t, { database, clock });
    const owner = await connect(t, ownerUrl);
    await owner.query("SELECT set_config('pulse.tenants', 'acme', false)");
    await owner.query('DELETE FROM api_keys');
    clock.advance(300_000);
    await directory.refresh();
    assert.equal(directory.principal(key.apiKey), null);
  });

  test('fails to open when tenants and keys cannot be read', async (t) => {
    const { database: real } = await testDatabase(t);
    const database = breakable(real);
    database.isDown = true;
    await assert.rejects(testDirectory(t, { database }), /connection refused/);
  });

  test('works when the owner of the tables is no superuser', async (t) => {
    const { ownerUrl } = await testDatabase(t);
    const owner = await connect(t, ownerUrl);
    const role = `pulse_plain_owner_${process.pid}`;
    const name = `pulse_plain_${process.pid}`;
    await owner.query(`CREATE ROLE ${role} LOGIN CREATEROLE PASSWORD 'plain'`);
    await owner.query(`GRANT pulse_app TO ${role} WITH ADMIN OPTION`);
    await owner.query(`CREATE DATABASE ${name} OWNER ${role}`);
    t.after(async () => {
      const cleaner = new Client({ connectionString: ownerUrl });
      await cleaner.connect();
      await cleaner.query(`DROP DATABASE ${name} WITH (FORCE)`);
      await cleaner.query(`DROP OWNED BY ${role}`);
      await cleaner.query(`DROP ROLE ${role}`);
      await cleaner.end();
    });
    const plainUrl = new URL(ownerUrl);
    plainUrl.username = role;
    plainUrl.password = 'plain';
    plainUrl.pathname = `/${name}`;
    const appUrl = new URL((await testDatabase(t)).appUrl);
    appUrl.pathname = `/${name}`;
    await migrate({ ownerUrl: plainUrl.href, appUrl: appUrl.href, logger: silentLogger });
    const app = await connect(t, appUrl.href);
    await app.query('BEGIN');
    await app.query("SELECT set_config('pulse.tenants', 'acme', true)");
    await app.query(
      `INSERT INTO tenants (tenant_id, name, topics, requests_per_minute, client_address_policy, created_at, revision)
       VALUES ('acme', 'Acme', 'shared', 1, 'keep', now(), 0)`,
    );
    await insertKeyRow(app, 'acme', 'key_1', newApiKey());
    await app.query('COMMIT');
    const { rows } = await app.query<{ kind: string }>('SELECT kind FROM pulse_directory_changes(0)');
    assert.deepEqual(rows.map((row) => row.kind).sort(), ['horizon', 'key', 'tenant']);
  });
});
