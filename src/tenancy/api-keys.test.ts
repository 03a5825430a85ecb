// API keys against a real Postgres: never kept in clear, two alive for rotation, out of reach of other tenants.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from 'pg';
import { testDatabase } from '../../tests/support/database.ts';
import { addKey, addTenant, administrator } from '../../tests/support/tenancy.ts';
import { ManualClock, systemClock } from '../core/clock.ts';
import { hasCode, type PulseError } from '../core/errors.ts';
import { listKeys, revokeKey } from './api-keys.ts';
import { ensureDemoTenant } from './demo.ts';

async function refusalOf(work: Promise<unknown>): Promise<PulseError> {
  try {
    await work;
  } catch (error) {
    assert.ok(hasCode(error, 'PULSE_TENANCY_KEY_LIMIT'), String(error));
    return error;
  }
  assert.fail('the key was created');
}

describe('API keys', () => {
  test('two keys of one name live side by side; a third is refused and told which to revoke', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    const first = await addKey(database, 'acme', ['ingest'], { name: 'shop' });
    const second = await addKey(database, 'acme', ['ingest'], { name: 'shop' });
    const refusal = await refusalOf(addKey(database, 'acme', ['ingest'], { name: 'shop' }));
    assert.equal(refusal.status, 409);
    assert.match(refusal.message, new RegExp(`Revoke ${first.keyId}, the older one`));
    const live = refusal.details?.['live_keys'] as { key_id: string }[] | undefined;
    assert.deepEqual(
      live?.map((key) => key.key_id),
      [first.keyId, second.keyId],
    );
    await addKey(database, 'acme', ['ingest'], { name: 'other name' });
    await revokeKey({ database, clock: systemClock }, administrator, 'acme', first.keyId);
    await addKey(database, 'acme', ['ingest'], { name: 'shop' });
  });

  test('concurrent calls never make a third key of one name', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    const made = await Promise.allSettled(
      Array.from({ length: 10 }, () => addKey(database, 'acme', ['read'], { name: 'shop' })),
    );
    assert.equal(made.filter((answer) => answer.status === 'fulfilled').length, 2);
    const keys = await listKeys(database, 'acme', { before: null, limit: 100 });
    assert.equal(keys.length, 2);
  });

  test('an expired key makes room, and a tenant has a bounded number of live keys', async (t) => {
    const { database } = await testDatabase(t);
    const clock = new ManualClock();
    await addTenant(database, 'acme');
    const expiresAt = new Date(clock.now() + 1_000).toISOString();
    const options = { name: 'shop', clock, expiresAt, keysMax: 3 };
    await addKey(database, 'acme', ['read'], options);
    await addKey(database, 'acme', ['read'], options);
    await refusalOf(addKey(database, 'acme', ['read'], options));
    clock.advance(1_000);
    for (const name of ['a', 'b', 'c']) await addKey(database, 'acme', ['read'], { name, clock, keysMax: 3 });
    const refusal = await refusalOf(addKey(database, 'acme', ['read'], { name: 'd', clock, keysMax: 3 }));
    assert.match(refusal.message, /has 3 live keys, and at most 3 are allowed/);
  });

  test('the key itself is nowhere in the database', async (t) => {
    const { database, ownerUrl } = await testDatabase(t);
    await addTenant(database, 'acme');
    const key = await addKey(database, 'acme', ['admin']);
    const demo = await ensureDemoTenant(database);
    const owner = new Client({ connectionString: ownerUrl });
    await owner.connect();
    try {
      await owner.query("SELECT set_config('pulse.tenants', 'acme,demo,_platform', false)");
      const tables = await owner.query<{ name: string }>(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
      );
      let dump = '';
      for (const { name } of tables.rows) {
        const { rows } = await owner.query<{ row: string }>(`SELECT t::text AS row FROM ${name} AS t`);
        dump += rows.map(({ row }) => row).join('\n');
      }
      assert.ok(dump.includes(key.keyId), 'the dump holds the rows of the key');
      for (const apiKey of [key.apiKey, demo?.apiKey as string]) {
        const secret = apiKey.slice('pk_'.length);
        const forms = [
          secret,
          Buffer.from(apiKey).toString('hex'),
          Buffer.from(secret, 'base64url').toString('hex'),
        ];
        for (const form of forms) assert.ok(!dump.includes(form), 'a table holds the key');
      }
    } finally {
      await owner.end();
    }
  });

  test('the binding of one tenant reaches no key, tenant, audit row or head of another', async (t) => {
    const { database } = await testDatabase(t);
    for (const tenantId of ['acme', 'other']) {
      await addTenant(database, tenantId);
      await addKey(database, tenantId, ['admin']);
    }
    for (const table of ['tenants', 'api_keys', 'audit_log', 'audit_heads']) {
      const seen = await database.withTenant('acme', (client) =>
        client.query<{ tenant_id: string }>(`SELECT DISTINCT tenant_id FROM ${table}`),
      );
      assert.deepEqual(seen.rows, [{ tenant_id: 'acme' }], table);
      assert.equal((await database.query(`SELECT FROM ${table}`)).rowCount, 0, `${table} without a binding`);
    }
    const writes: [string, readonly unknown[]][] = [
      ["UPDATE tenants SET status = 'suspended' WHERE tenant_id = 'other'", []],
      ["UPDATE api_keys SET revoked_at = now() WHERE tenant_id = 'other'", []],
      ["UPDATE audit_heads SET sequence = 9 WHERE tenant_id = 'other'", []],
    ];
    for (const [statement, values] of writes) {
      const done = await database.withTenant('acme', (client) => client.query(statement, values));
      assert.equal(done.rowCount, 0, statement);
    }
    await assert.rejects(
      database.withTenant('acme', (client) =>
        client.query(
          `INSERT INTO api_keys (tenant_id, key_id, name, key_hash, scopes, created_at, revision)
           SELECT 'other', key_id, name, key_hash, scopes, created_at, 0 FROM api_keys`,
        ),
      ),
    );
  });

  test('ids and topics of tenants, and hashes and scopes of keys, cannot be changed by the program', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    await addKey(database, 'acme', ['read']);
    for (const statement of [
      "UPDATE tenants SET tenant_id = 'renamed'",
      "UPDATE tenants SET topics = 'dedicated'",
      'DELETE FROM tenants',
      "UPDATE api_keys SET scopes = ARRAY['admin']",
      "UPDATE api_keys SET key_hash = decode(repeat('00', 32), 'hex')",
      'DELETE FROM api_keys',
    ]) {
      await assert.rejects(
        database.withTenant('acme', (client) => client.query(statement)),
        statement,
      );
    }
  });

  test('the demo tenant is made once, and its revoked key stays revoked', async (t) => {
    const { database } = await testDatabase(t);
    const [one, two] = await Promise.all([ensureDemoTenant(database), ensureDemoTenant(database)]);
    const made = one ?? two;
    assert.ok(made !== null && (one === null || two === null), 'two starts at once make one demo tenant');
    const [key] = await listKeys(database, 'demo', { before: null, limit: 10 });
    assert.deepEqual(key?.scopes, ['ingest', 'read']);
    await revokeKey({ database, clock: systemClock }, administrator, 'demo', key?.keyId as string);
    assert.equal(await ensureDemoTenant(database), null);
  });
});
