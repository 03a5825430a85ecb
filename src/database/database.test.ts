// The pool and its transactions, against a real server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { silentLogger, type TestScope, testDatabase } from '../../tests/support/database.ts';
import { hasCode } from '../core/errors.ts';
import { addStageCounts } from './counts.ts';
import { openDatabase } from './database.ts';
import type { Database, Queryable } from './types.ts';

const minute = '2026-01-01T00:00:00.000Z';

const add = (client: Queryable, tenantId: string, events = 1) =>
  addStageCounts(client, [
    {
      tenantId,
      receivedMinute: minute,
      stage: 'store',
      outcome: 'stored',
      topic: 'events.valid',
      partition: 0,
      events,
      bytes: 1,
    },
  ]);

const tenantsSeen = async (client: Pick<Queryable, 'query'>): Promise<string[]> => {
  const { rows } = await client.query<{ tenant_id: string }>('SELECT tenant_id FROM stage_counts ORDER BY 1');
  return rows.map((row) => row.tenant_id);
};

/** A pool with one connection, so that every transaction gets the connection that the one before gave back. */
async function single(
  t: TestScope,
  options: { statementTimeoutMs?: number; connectTimeoutMs?: number } = {},
) {
  const { appUrl, ownerUrl } = await testDatabase(t);
  const database = await openDatabase({
    url: appUrl,
    poolSize: 1,
    applicationName: 'pulse-test-single',
    statementTimeoutMs: options.statementTimeoutMs ?? 5_000,
    connectTimeoutMs: options.connectTimeoutMs ?? 2_000,
    logger: silentLogger,
  });
  t.after(() => database.close());
  return { database, ownerUrl, appUrl };
}

/** Ends every connection of the pool, as a restart of the server does. A role may end its own. */
async function breakConnections(appUrl: string): Promise<void> {
  const client = new Client({ connectionString: appUrl });
  await client.connect();
  try {
    await client.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pulse-test-single'",
    );
  } finally {
    await client.end();
  }
}

const backendOf = async (database: Database) =>
  (await database.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;

test('a transaction sees and writes the rows of its tenants only', async (t) => {
  const { database } = await testDatabase(t);
  await database.withTenants(['acme', 'globex'], async (client) => {
    await add(client, 'acme');
    await add(client, 'globex');
  });
  assert.deepEqual(await database.withTenant('acme', tenantsSeen), ['acme']);
  assert.deepEqual(await database.withTenants(['acme', 'globex'], tenantsSeen), ['acme', 'globex']);
  assert.deepEqual(await database.withTenants([], tenantsSeen), []);
  await assert.rejects(
    database.withTenant('acme', (client) => add(client, 'globex')),
    /row-level security/,
  );
  const changed = await database.withTenant('acme', (client) =>
    client.query('UPDATE stage_counts SET events = 9'),
  );
  assert.equal(changed.rowCount, 1);
});

test('a statement without a binding sees no tenant, also on a connection that was bound before', async (t) => {
  const { database } = await single(t);
  assert.deepEqual(await tenantsSeen(database), []);
  await database.withTenant('acme', (client) => add(client, 'acme'));
  assert.deepEqual(await tenantsSeen(database), []);
  await assert.rejects(
    database.withTenant('acme', async (client) => {
      await tenantsSeen(client);
      throw new Error('out');
    }),
    /^Error: out$/,
  );
  assert.deepEqual(await tenantsSeen(database), []);
});

test('an error inside rolls everything back and is thrown on', async (t) => {
  const { database } = await single(t);
  const error = new Error('mine');
  const work = database.withTenant('acme', async (client) => {
    await add(client, 'acme');
    throw error;
  });
  await assert.rejects(work, (thrown) => thrown === error);
  assert.deepEqual(await database.withTenant('acme', tenantsSeen), []);
});

test('a swallowed error of a statement is not taken for a commit', async (t) => {
  const { database } = await single(t);
  const work = database.withTenant('acme', async (client) => {
    await add(client, 'acme');
    await client.query('SELECT 1/0').catch(() => {});
  });
  await assert.rejects(work, (error) => hasCode(error, 'PULSE_DATABASE_ROLLED_BACK'));
  assert.deepEqual(await database.withTenant('acme', tenantsSeen), []);
});

test('a client cannot be used after its transaction, and a transaction opened by hand is not given back to the pool', async (t) => {
  const { database } = await single(t);
  let kept: Queryable | undefined;
  await database.withTenant('acme', async (client) => {
    kept = client;
    await add(client, 'acme');
  });
  await assert.rejects((kept as Queryable).query('SELECT 1'), (error) =>
    hasCode(error, 'PULSE_DATABASE_TRANSACTION_ENDED'),
  );
  const before = await backendOf(database);
  await database.query('BEGIN');
  assert.notEqual(await backendOf(database), before);
});

test('statements sent together keep their order and share the binding', async (t) => {
  const { database } = await testDatabase(t);
  const seen = await database.withTenant('acme', async (client) => {
    const [, , after] = await Promise.all([add(client, 'acme'), add(client, 'acme', 2), tenantsSeen(client)]);
    return after;
  });
  assert.deepEqual(seen, ['acme']);
});

test('a tenant id that is no slug is refused before anything is sent', async (t) => {
  const { database } = await testDatabase(t);
  for (const id of ['a,b', '', 'Acme', "a'; --", 'x'.repeat(64)]) {
    await assert.rejects(database.withTenant(id, tenantsSeen), (error) =>
      hasCode(error, 'PULSE_DATABASE_TENANT_INVALID'),
    );
  }
});

test('a role that owns tables or is a superuser is refused', async (t) => {
  const { ownerUrl } = await testDatabase(t);
  const options = {
    url: ownerUrl,
    poolSize: 1,
    applicationName: 'x',
    statementTimeoutMs: 5_000,
    logger: silentLogger,
  };
  await assert.rejects(openDatabase(options), (error) => hasCode(error, 'PULSE_DATABASE_ROLE_UNSAFE'));
});

test('a wrong password is a named error, and so is a port where nobody listens', async (t) => {
  const { appUrl } = await testDatabase(t);
  const open = (change: (url: URL) => void) => {
    const url = new URL(appUrl);
    change(url);
    const options = { poolSize: 1, applicationName: 'x', statementTimeoutMs: 5_000, logger: silentLogger };
    return openDatabase({ ...options, url: url.href });
  };
  await assert.rejects(
    open((url) => {
      url.password = 'wrong';
    }),
    (error) => hasCode(error, 'PULSE_DATABASE_LOGIN_FAILED'),
  );
  await assert.rejects(
    open((url) => {
      url.port = '1';
    }),
    (error) => hasCode(error, 'PULSE_DATABASE_UNAVAILABLE'),
  );
});

test('a connection that breaks is an error of the statement in hand, and the pool connects again', async (t) => {
  const { database, appUrl } = await single(t);
  const sleeping = database.query('SELECT pg_sleep(5)');
  sleeping.catch(() => {});
  await sleep(100);
  await breakConnections(appUrl);
  await assert.rejects(sleeping, (error) => hasCode(error, 'PULSE_DATABASE_UNAVAILABLE'));
  assert.deepEqual(await tenantsSeen(database), []);
  // While idle as well.
  await breakConnections(appUrl);
  await sleep(100);
  assert.deepEqual(await tenantsSeen(database), []);
});

test('a break inside a transaction is retryable, a break during COMMIT has an unknown outcome', async (t) => {
  const { database, ownerUrl, appUrl } = await single(t);
  const inside = database.withTenant('acme', async (client) => {
    await add(client, 'acme');
    await breakConnections(appUrl);
    await tenantsSeen(client);
  });
  await assert.rejects(inside, (error) => hasCode(error, 'PULSE_DATABASE_UNAVAILABLE') && error.retryable);

  const owner = new Client({ connectionString: ownerUrl });
  await owner.connect();
  // A deferred trigger that sleeps puts the break into COMMIT itself.
  await owner.query(`
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON stage_counts DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION slow()`);
  await owner.end();
  const committing = database.withTenant('acme', (client) => add(client, 'acme'));
  committing.catch(() => {});
  await sleep(200);
  await breakConnections(appUrl);
  await assert.rejects(committing, (error) => hasCode(error, 'PULSE_DATABASE_COMMIT_UNKNOWN'));
  assert.deepEqual(await database.withTenant('acme', tenantsSeen), []);
});

test('a statement beyond its time and a wait for a connection beyond its time are named errors', async (t) => {
  const { database } = await single(t, { statementTimeoutMs: 200, connectTimeoutMs: 100 });
  const long = database.query('SELECT pg_sleep(5)');
  long.catch(() => {});
  await assert.rejects(database.query('SELECT 1'), (error) => hasCode(error, 'PULSE_DATABASE_UNAVAILABLE'));
  await assert.rejects(long, (error) => hasCode(error, 'PULSE_DATABASE_TIMEOUT'));
  assert.equal((await database.query('SELECT 1')).rowCount, 1);
});

test('int8 reads as a number, and one that a number cannot hold is refused', async (t) => {
  const { database } = await testDatabase(t);
  const { rows } = await database.query<{ n: number }>('SELECT 9007199254740991::bigint AS n');
  assert.equal(rows[0]?.n, Number.MAX_SAFE_INTEGER);
  await assert.rejects(database.query('SELECT 9007199254740993::bigint AS n'), /beyond 2\^53/);
  assert.equal((await database.query('SELECT 1')).rowCount, 1);
});

test('a named statement is prepared once and stays bound to its text', async (t) => {
  const { database } = await single(t);
  for (const value of [1, 2]) {
    const { rows } = await database.query('SELECT $1::int AS n', [value], { name: 'one_number' });
    assert.deepEqual(rows, [{ n: value }]);
  }
  await assert.rejects(database.query('SELECT $1::text AS n', ['x'], { name: 'one_number' }));
});
