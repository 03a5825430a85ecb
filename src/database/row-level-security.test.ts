// The rule of tenant isolation, held against the catalogue, and held against a database made wrong on purpose.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from 'pg';
import { testDatabase } from '../../tests/support/database.ts';
import { definerFunctions, extraPolicies, platformTables } from './exemptions.ts';
import { findViolations } from './row-level-security.ts';

test('every table of every room is under row-level security or exempted by name', async (t) => {
  const { database } = await testDatabase(t);
  assert.deepEqual(await findViolations(database), []);
});

test('every exemption names something that exists', async (t) => {
  const { database } = await testDatabase(t);
  const { rows } = await database.query<{ name: string }>(
    `SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NULL
     UNION ALL SELECT name FROM unnest($2::text[]) name WHERE to_regprocedure(name) IS NULL
     UNION ALL SELECT name FROM unnest($3::text[]) name
       WHERE NOT EXISTS (SELECT FROM pg_policy WHERE polrelid::regclass::text || '.' || polname = name)`,
    [platformTables, definerFunctions, extraPolicies].map((list) => list.map(({ name }) => name)),
  );
  assert.deepEqual(rows, []);
});

/** What is done wrong, and the rules that must find it. */
const mistakes: readonly (readonly [sql: string, ...found: (readonly [name: string, rule: string])[]])[] = [
  [
    'CREATE TABLE bare (tenant_id text, PRIMARY KEY (tenant_id))',
    ['bare', 'row-level security is not enabled'],
    ['bare', 'row-level security is not forced'],
    ['bare', 'the policy tenant_isolation is missing or differs'],
  ],
  [
    "CREATE TABLE unforced (tenant_id text); SELECT pulse_protect('unforced'); ALTER TABLE unforced NO FORCE ROW LEVEL SECURITY",
    ['unforced', 'row-level security is not forced'],
  ],
  [
    `CREATE TABLE parent (tenant_id text, day date, PRIMARY KEY (tenant_id, day)) PARTITION BY RANGE (day);
     SELECT pulse_protect('parent');
     CREATE TABLE late_child PARTITION OF parent FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')`,
    ['late_child', 'row-level security is not enabled'],
    ['late_child', 'row-level security is not forced'],
    ['late_child', 'the policy tenant_isolation is missing or differs'],
  ],
  [
    "CREATE TABLE opened (tenant_id text); SELECT pulse_protect('opened'); CREATE POLICY wide ON opened USING (true)",
    ['opened.wide', 'a further policy opens the table to pulse_app'],
    ['opened.wide', 'the policy is in no list of exemptions'],
  ],
  [
    "CREATE TABLE other_policy (tenant_id text); SELECT pulse_protect('other_policy'); ALTER POLICY tenant_isolation ON other_policy USING (true)",
    ['other_policy', 'the policy tenant_isolation is missing or differs'],
  ],
  [
    'CREATE TABLE nobody_knows (id int)',
    ['nobody_knows', 'the table has no tenant_id and is in no list of exemptions'],
  ],
  [
    'CREATE MATERIALIZED VIEW frozen AS SELECT 1 AS one',
    ['frozen', 'a materialized view ignores row-level security'],
  ],
  [
    'CREATE VIEW as_owner AS SELECT * FROM stage_counts',
    ['as_owner', 'the view runs with the rights of its owner'],
  ],
  ['CREATE VIEW as_caller WITH (security_invoker = true) AS SELECT * FROM stage_counts'],
  ['GRANT TRUNCATE ON stage_counts TO pulse_app', ['stage_counts', 'pulse_app may TRUNCATE it']],
  [
    'ALTER TABLE log_epochs OWNER TO pulse_app',
    ['log_epochs', 'pulse_app owns it'],
    ['log_epochs', 'pulse_app may TRUNCATE it'],
  ],
  [
    'CREATE UNIQUE INDEX by_minute ON stage_counts (received_minute)',
    ['stage_counts (by_minute)', 'a unique index does not begin with tenant_id'],
  ],
  [
    'CREATE FUNCTION loose() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1',
    ['loose()', 'the SECURITY DEFINER function does not pin its search_path to pg_catalog, pg_temp'],
    ['loose()', 'the SECURITY DEFINER function is in no list of exemptions'],
  ],
  ['GRANT CREATE ON SCHEMA public TO pulse_app', ['public', 'pulse_app may create objects in the schema']],
];

test('each known way around row-level security is found', async (t) => {
  const { ownerUrl } = await testDatabase(t);
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  t.after(() => client.end());
  for (const [sql, ...found] of mistakes) {
    await client.query('BEGIN');
    try {
      await client.query(sql);
    } catch (error) {
      // At an outside server the owner is no superuser, so some mistakes cannot be made there.
      if ((error as { code?: string }).code !== '42501') throw error;
      t.diagnostic(`not permitted to the owner: ${sql}`);
      await client.query('ROLLBACK');
      continue;
    }
    const violations = await findViolations(asQueryable(client));
    await client.query('ROLLBACK');
    assert.deepEqual(
      violations.map(({ name, rule }) => [name, rule]).sort(),
      found.map(([name, rule]) => [name, rule]).sort(),
      sql,
    );
  }
});

function asQueryable(client: Client) {
  return {
    query: async <Row>(text: string, values: readonly unknown[] = []) => {
      const { rows, rowCount } = await client.query<Row & Record<string, unknown>>(text, values as unknown[]);
      return { rows: rows as Row[], rowCount: rowCount ?? 0 };
    },
  };
}
