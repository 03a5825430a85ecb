// Ways around row-level security that need no foreign row to be selected: the connection, the role, the catalogue, side doors.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { Client } from 'pg';
import { openDatabase } from '../../src/database/database.ts';
import type { Database, Queryable } from '../../src/database/types.ts';
import { silentLogger } from '../support/database.ts';
import { attempt, canary, failure, type Probed, probedDatabase, stranger, victim } from './tenant-tables.ts';

const cleanups: (() => Promise<void>)[] = [];
let probed: Probed;
/** One connection, so that every statement meets what the one before has left behind. */
let single: Database;
before(async () => {
  probed = await probedDatabase({ after: (work) => void cleanups.push(work) });
  single = await openDatabase({
    url: probed.appUrl,
    poolSize: 1,
    applicationName: 'pulse-probe',
    statementTimeoutMs: 10_000,
    logger: silentLogger,
  });
  cleanups.push(() => single.close());
});
after(async () => {
  for (const work of cleanups.reverse()) await work();
});

const visible = 'SELECT DISTINCT tenant_id FROM events ORDER BY 1';

async function tenantsSeen(client: Pick<Queryable, 'query'>): Promise<string[]> {
  return (await client.query<{ tenant_id: string }>(visible)).rows.map((row) => row.tenant_id);
}

/** A connection as `pulse_app`, bound to the stranger for its whole session. */
async function session(work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: probed.appUrl });
  await client.connect();
  try {
    await client.query("SELECT set_config('pulse.tenants', $1, false)", [stranger]);
    await work(client);
  } finally {
    await client.end();
  }
}

test('a session that is bound to nobody sees nothing', async () => {
  for (const { name } of probed.roots) {
    assert.equal((await single.query(`SELECT 1 FROM ${name}`)).rowCount, 0, name);
  }
});

test('a binding that is no list of tenants sees nothing', async () => {
  for (const binding of [
    '',
    ',',
    '*',
    '%',
    'alpha ',
    'ALPHA',
    'alph_',
    '{alpha}',
    "alpha'",
    'null',
    ' alpha',
    'alpha;beta',
  ]) {
    const { rows } = await attempt(probed, stranger, `SELECT set_config('pulse.tenants', $1, true)`, [
      binding,
    ]);
    assert.equal(rows.length, 1);
    await session(async (client) => {
      await client.query("SELECT set_config('pulse.tenants', $1, false)", [binding]);
      assert.deepEqual((await client.query(visible)).rows, [], JSON.stringify(binding));
    });
  }
});

test('a tenant id that carries a second one is refused before it is bound', async () => {
  for (const tenantId of [`${stranger},${victim}`, `${stranger}'`, '', 'ALPHA', `${stranger}\n${victim}`]) {
    await assert.rejects(
      single.withTenant(tenantId, tenantsSeen),
      { code: 'PULSE_DATABASE_TENANT_INVALID' },
      tenantId,
    );
  }
});

test('a binding ends with its transaction: committed, failed or refused', async () => {
  assert.deepEqual(await single.withTenant(victim, tenantsSeen), [victim]);
  assert.deepEqual(await tenantsSeen(single), []);
  await assert.rejects(single.withTenant(victim, (client) => client.query('SELECT 1/0')));
  assert.deepEqual(await tenantsSeen(single), []);
  await assert.rejects(
    single.withTenant(victim, () => Promise.reject(new Error('no'))),
    /no/,
  );
  assert.deepEqual(await tenantsSeen(single), []);
  assert.deepEqual(await single.withTenant(stranger, tenantsSeen), [stranger]);
});

test('a connection that is given back in an open transaction is never used again', async () => {
  const pid = async () =>
    (await single.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;
  const first = await pid();
  await single.query("BEGIN; SELECT set_config('pulse.tenants', 'alpha', true)");
  assert.deepEqual(await tenantsSeen(single), []);
  assert.notEqual(await pid(), first);
});

test('a statement that comes after its transaction is refused', async () => {
  let kept: Queryable | null = null;
  await single.withTenant(victim, async (client) => {
    kept = client;
    await client.query('SELECT 1');
  });
  await assert.rejects(tenantsSeen(kept as unknown as Queryable), {
    code: 'PULSE_DATABASE_TRANSACTION_ENDED',
  });
});

test('a SET for the session does not outlast a transaction that is bound, whatever it leaves in the pool', async () => {
  await single.query("SELECT set_config('pulse.tenants', 'alpha', false)");
  assert.deepEqual(await single.withTenant(stranger, tenantsSeen), [stranger]);
  await single.query("SELECT set_config('pulse.tenants', '', false)");
});

// The running role can bind itself to any tenant: that is how it serves all of them. What guards this door is that one
// function of one file walks through it, with a value that it has checked, and that no SQL is built from input.
test('only withTenants binds tenants, for the transaction alone', () => {
  const root = resolve(import.meta.dirname, '..', '..', 'src');
  const code = (file: string) =>
    readFileSync(resolve(root, file), 'utf8').replaceAll(/^\s*(\/\/|\*|\/\*|--).*$/gm, '');
  const binding = globSync('**/*.{ts,sql}', { cwd: root, exclude: ['**/*.test.ts', '**/testing/**'] }).filter(
    (file) => /set_config\(\s*'pulse\.tenants'|SET\s+(LOCAL\s+|SESSION\s+)?pulse\.tenants/i.test(code(file)),
  );
  assert.deepEqual(binding, ['database/database.ts']);
  assert.match(
    readFileSync(resolve(root, binding[0] as string), 'utf8'),
    /set_config\('pulse\.tenants', \$1, true\)/,
  );
});

test('nothing that outlives a transaction carries rows: no held cursor, temporary table, notification or large object', async () => {
  const root = resolve(import.meta.dirname, '..', '..', 'src');
  for (const file of globSync('**/*.{ts,sql}', { cwd: root, exclude: ['**/*.test.ts'] })) {
    const text = readFileSync(resolve(root, file), 'utf8');
    assert.doesNotMatch(
      text,
      /WITH HOLD|CREATE (TEMP|TEMPORARY|UNLOGGED) |pg_notify\(|\bNOTIFY [a-z]|\bLISTEN [a-z]|lo_(create|import|from_bytea)\(/,
      file,
    );
  }
  const { rows } = await probed.owner.query('SELECT count(*)::int AS n FROM pg_largeobject_metadata');
  assert.equal(rows[0].n, 0);
});

test('row_security = off refuses instead of showing', async () => {
  await session(async (client) => {
    await client.query('SET row_security = off');
    for (const { name } of probed.roots)
      assert.equal((await failure(client.query(`SELECT * FROM ${name}`)))?.code, '42501', name);
  });
});

test('the running role cannot become another, nor change tables, policies, functions, triggers or schemas', async () => {
  const { rows } = await probed.owner.query<{ owner: string }>('SELECT current_user AS owner');
  const statements = [
    `SET ROLE "${rows[0]?.owner}"`,
    `SET SESSION AUTHORIZATION "${rows[0]?.owner}"`,
    'ALTER ROLE pulse_app BYPASSRLS',
    'CREATE ROLE probe',
    'ALTER TABLE events DISABLE ROW LEVEL SECURITY',
    'ALTER TABLE events NO FORCE ROW LEVEL SECURITY',
    'DROP POLICY tenant_isolation ON events',
    'CREATE POLICY open ON events USING (true)',
    'ALTER TABLE events ADD COLUMN probe int',
    'CREATE TABLE probe (id int)',
    'CREATE VIEW probe AS SELECT 1',
    'CREATE MATERIALIZED VIEW probe AS SELECT * FROM events',
    'CREATE FUNCTION probe() RETURNS int LANGUAGE sql RETURN 1',
    'CREATE OR REPLACE FUNCTION pulse_tenants() RETURNS text[] LANGUAGE sql STABLE RETURN NULL',
    'CREATE SCHEMA probe',
    'CREATE TRIGGER probe BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION pulse_stamp_revision()',
    'CREATE RULE probe AS ON INSERT TO events DO ALSO NOTIFY probe',
    'CREATE STATISTICS probe ON tenant_id, event_id FROM events',
    'CREATE EXTENSION plpython3u',
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')",
    'SELECT * FROM pg_authid',
    'SELECT * FROM pg_statistic',
    'ALTER DATABASE postgres SET row_security = off',
    "SELECT pulse_protect('events')",
  ];
  for (const text of statements) {
    const { error } = await attempt(probed, stranger, text);
    assert.ok(
      error !== null && ['42501', '0A000', '58P01'].includes(error.code ?? ''),
      `${text}: ${error?.code} ${error?.message}`,
    );
  }
});

test('no right that looks past row-level security is granted: REFERENCES, TRIGGER, TRUNCATE', async () => {
  for (const { name } of probed.tables) {
    for (const right of ['REFERENCES', 'TRIGGER', 'TRUNCATE']) {
      const { rows } = await probed.database.query<{ has: boolean }>(
        'SELECT has_table_privilege($1, $2) AS has',
        [name, right],
      );
      assert.equal(rows[0]?.has, false, `${right} on ${name}`);
    }
  }
});

test('functions that run as the owner hand out no event, key name or dead letter', async () => {
  const { rows } = await probed.database.query<{ call: string }>(
    `SELECT p.oid::regprocedure::text AS call FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.prosecdef AND n.nspname = 'public' AND has_function_privilege(p.oid, 'EXECUTE')`,
  );
  assert.deepEqual(rows.map((row) => row.call).sort(), [
    'pulse_directory_changes(bigint)',
    'pulse_store_drop_partition(date)',
    'pulse_store_make_partition(date)',
  ]);
  const { rows: entries } = await attempt(probed, stranger, 'SELECT * FROM pulse_directory_changes(0)');
  const shown = entries.map((row) => row['entry'] as Record<string, unknown>);
  assert.ok(shown.length > 2, 'the directory knows all tenants');
  for (const entry of shown) {
    // The name of a tenant, and nothing else that a tenant has written.
    assert.ok(!JSON.stringify({ ...entry, name: '', key_id: '' }).includes(canary), JSON.stringify(entry));
  }
});

test('a temporary table or function of the same name shadows nothing', async () => {
  await session(async (client) => {
    await client.query('SET search_path = pg_temp, public');
    const temporary = await failure(client.query("CREATE TEMP TABLE tenants AS SELECT 'alpha' AS tenant_id"));
    await failure(
      client.query(
        "CREATE FUNCTION pg_temp.pulse_tenants() RETURNS text[] LANGUAGE sql STABLE RETURN ARRAY['alpha','beta']",
      ),
    );
    await failure(
      client.query(
        "CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql STABLE RETURN 'alpha'",
      ),
    );
    for (const { name } of probed.roots) {
      const { rowCount } = await client.query(`SELECT 1 FROM public.${name} WHERE tenant_id = 'alpha'`);
      assert.equal(rowCount, 0, name);
    }
    const { rows } = await client.query(
      "SELECT entry->>'tenant_id' AS id FROM public.pulse_directory_changes(0) WHERE kind = 'tenant'",
    );
    assert.equal(
      rows.length,
      2,
      `the directory reads the true table (temporary tables: ${temporary?.code ?? 'allowed'})`,
    );
  });
});

test('a cheap function of the caller is not run on foreign rows before the policy', async () => {
  await session(async (client) => {
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    const made = await failure(
      client.query(`CREATE FUNCTION pg_temp.look(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
                    AS $$ BEGIN RAISE NOTICE 'saw %', value; RETURN true; END $$`),
    );
    if (made !== null) return; // Not even that is allowed.
    for (const { name } of probed.roots)
      await client.query(`SELECT 1 FROM ${name} WHERE pg_temp.look(tenant_id::text)`);
    assert.ok(notices.includes(`saw ${stranger}`), 'the function runs on own rows');
    assert.ok(!notices.some((text) => text.includes(victim)), 'and on no other');
  });
});

test('statistics and plans show no foreign value', async () => {
  const { rows } = await probed.database.query<{ n: number }>(
    'SELECT count(*)::int AS n FROM pg_stats WHERE tablename = ANY ($1)',
    [probed.tables.map(({ name }) => name)],
  );
  assert.equal(rows[0]?.n, 0, 'pg_stats hides what row-level security hides');
  for (const { name } of probed.roots) {
    const plan = await attempt(
      probed,
      stranger,
      `EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) SELECT * FROM ${name}`,
    );
    assert.ok(!JSON.stringify(plan.rows).includes(canary), name);
  }
});

test('sequences tell a tenant nothing: none belongs to a tenant table, and none may be read', async () => {
  const { rows } = await probed.database.query<{ name: string; may: boolean; owner: string | null }>(
    `SELECT s.oid::regclass::text AS name, has_sequence_privilege(s.oid, 'SELECT, USAGE') AS may,
            (SELECT d.refobjid::regclass::text FROM pg_depend d WHERE d.objid = s.oid AND d.deptype IN ('a', 'i') LIMIT 1) AS owner
     FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace WHERE s.relkind = 'S' AND n.nspname = 'public'`,
  );
  for (const { name, may, owner } of rows) {
    assert.equal(may, false, name);
    assert.ok(!probed.tables.some((table) => table.name === owner), name);
  }
});

test('what other sessions are doing shows statements without values', async () => {
  await probed.database.withTenant(victim, async (client) => {
    await client.query('SELECT count(*) FROM events WHERE event_id = $1', [`${canary}-1`]);
    const { rows } = await attempt(probed, stranger, 'SELECT query FROM pg_stat_activity');
    assert.ok(rows.length > 1);
    assert.ok(!JSON.stringify(rows).includes(canary));
  });
  const { rows } = await attempt(probed, stranger, 'SELECT * FROM pg_prepared_statements');
  assert.ok(!JSON.stringify(rows).includes(canary));
});

test('no function is declared leak-proof, so that none is run before the policies', async () => {
  const { rows } = await probed.owner.query(
    `SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.proleakproof AND n.nspname NOT IN ('pg_catalog', 'information_schema')`,
  );
  assert.deepEqual(rows, []);
});
