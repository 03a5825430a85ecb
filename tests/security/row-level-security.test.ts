// Row-level security under attack, statement by statement, on every tenant table and partition that the catalogue knows.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  attempt,
  canary,
  insertOf,
  type Probed,
  probedDatabase,
  rowsOfEach,
  stranger,
  victim,
} from './tenant-tables.ts';

const cleanups: (() => Promise<void>)[] = [];
let probed: Probed;
before(async () => {
  probed = await probedDatabase({ after: (work) => void cleanups.push(work) });
});
after(async () => {
  for (const work of cleanups.reverse()) await work();
});

const denied = '42501';

/** Runs a statement on every tenant table as the stranger; each may only see nothing or be denied. */
async function onEveryTable(
  statement: (table: string) => string,
  judge: (outcome: Awaited<ReturnType<typeof attempt>>, table: string) => void,
): Promise<void> {
  for (const { name } of probed.tables) judge(await attempt(probed, stranger, statement(name)), name);
}

function seesNothing({ rows, rowCount, error }: Awaited<ReturnType<typeof attempt>>, table: string): void {
  if (error !== null) {
    assert.equal(error.code, denied, `${table}: ${error.message}`);
    assert.ok(!JSON.stringify({ ...error, message: error.message }).includes(canary), table);
    return;
  }
  assert.equal(rowCount, 0, table);
  assert.ok(!JSON.stringify(rows).includes(canary), table);
}

test('every tenant table and partition holds rows of both tenants, so that the probes could fail', async () => {
  assert.ok(probed.roots.length >= 10, `${probed.roots.length} tables`);
  assert.ok(probed.tables.length >= probed.roots.length + 10, 'partitions are found as well');
  for (const { name } of probed.tables) {
    const { rows } = await probed.owner.query(`SELECT DISTINCT tenant_id FROM ${name} ORDER BY 1`);
    assert.deepEqual(
      rows.map((row) => row.tenant_id),
      [victim, stranger],
      name,
    );
  }
  for (const { name } of probed.roots) {
    const { rows } = await attempt(probed, stranger, `SELECT tenant_id FROM ${name}`);
    assert.ok(
      rows.length > 0 && rows.every((row) => row['tenant_id'] === stranger),
      `${name}: own rows are seen`,
    );
  }
});

test('SELECT sees nothing of another tenant', () =>
  onEveryTable((table) => `SELECT * FROM ${table} WHERE tenant_id = '${victim}'`, seesNothing));

test('SELECT on partitions themselves sees nothing of another tenant, ONLY included', () =>
  onEveryTable((table) => `SELECT * FROM ONLY ${table} WHERE tenant_id <> '${stranger}'`, seesNothing));

test('aggregates, EXISTS, ctid and TABLESAMPLE count nothing of another tenant', async () => {
  await onEveryTable(
    (table) => `SELECT 1 FROM ${table} WHERE tenant_id <> '${stranger}' HAVING count(*) > 0`,
    seesNothing,
  );
  await onEveryTable(
    (table) => `SELECT 1 WHERE EXISTS (SELECT FROM ${table} WHERE tenant_id = '${victim}')`,
    seesNothing,
  );
  await onEveryTable(
    (table) =>
      `SELECT * FROM ${table} WHERE ctid = ANY (ARRAY(SELECT format('(0,%s)', n)::tid FROM generate_series(1, 99) n)) AND tenant_id <> '${stranger}'`,
    seesNothing,
  );
  for (const { name } of probed.tables.filter((table) => !table.name.startsWith('pg_'))) {
    const { rows } = await attempt(probed, stranger, `SELECT * FROM ${name} TABLESAMPLE SYSTEM (100)`);
    assert.ok(!JSON.stringify(rows).includes(canary), name);
  }
});

test('FOR UPDATE, FOR SHARE and SKIP LOCKED lock nothing of another tenant', async () => {
  for (const lock of ['FOR UPDATE', 'FOR KEY SHARE', 'FOR SHARE SKIP LOCKED']) {
    await onEveryTable(
      (table) => `SELECT * FROM ${table} WHERE tenant_id = '${victim}' ${lock}`,
      seesNothing,
    );
  }
});

test('UPDATE changes nothing of another tenant and returns nothing of it', () =>
  onEveryTable(
    (table) => `UPDATE ${table} SET tenant_id = tenant_id WHERE tenant_id = '${victim}' RETURNING *`,
    seesNothing,
  ));

test('UPDATE of a granted column changes nothing of another tenant', async () => {
  const { rows } = await probed.database.query<{ name: string; column: string }>(
    `SELECT table_name AS name, min(column_name) AS column FROM information_schema.column_privileges
     WHERE grantee = 'pulse_app' AND privilege_type = 'UPDATE' AND column_name <> 'tenant_id' GROUP BY 1`,
  );
  const granted = rows.filter(({ name }) => probed.tables.some((table) => table.name === name));
  assert.ok(granted.length >= 5);
  for (const { name, column } of granted) {
    seesNothing(
      await attempt(
        probed,
        stranger,
        `UPDATE ${name} SET ${column} = ${column} WHERE tenant_id = '${victim}' RETURNING *`,
      ),
      name,
    );
    const own = await attempt(
      probed,
      stranger,
      `UPDATE ${name} SET ${column} = ${column} RETURNING tenant_id`,
    );
    if (own.error === null)
      assert.ok(own.rowCount > 0 && own.rows.every((row) => row['tenant_id'] === stranger), name);
  }
});

test('UPDATE cannot move an own row to another tenant', () =>
  onEveryTable(
    (table) => `UPDATE ${table} SET tenant_id = '${victim}'`,
    ({ error }, table) => assert.equal(error?.code, denied, table),
  ));

test('DELETE removes nothing of another tenant and returns nothing of it', () =>
  onEveryTable((table) => `DELETE FROM ${table} WHERE tenant_id = '${victim}' RETURNING *`, seesNothing));

test('MERGE matches nothing of another tenant', () =>
  onEveryTable(
    (table) =>
      `MERGE INTO ${table} t USING (SELECT '${victim}' AS id) s ON t.tenant_id = s.id WHEN MATCHED THEN DELETE`,
    seesNothing,
  ));

test('TRUNCATE is denied', () =>
  onEveryTable(
    (table) => `TRUNCATE ${table}`,
    ({ error }, table) => assert.equal(error?.code, denied, table),
  ));

test('COPY takes out own rows only, and takes none in', async () => {
  for (const { name } of probed.roots) {
    const own = await attempt(probed, stranger, `SELECT count(*)::int AS own FROM ${name}`);
    assert.equal(
      (await attempt(probed, stranger, `COPY (SELECT * FROM ${name}) TO STDOUT`)).rowCount,
      own.rows[0]?.['own'],
      name,
    );
    const copied = await attempt(probed, stranger, `COPY ${name} FROM STDIN`);
    assert.match(`${copied.error?.code}`, /^(0A000|42501)$/, name);
  }
  for (const target of ["'/tmp/pulse-probe'", "PROGRAM 'cat'"]) {
    assert.equal((await attempt(probed, stranger, `COPY events TO ${target}`)).error?.code, denied);
  }
});

test('INSERT for another tenant is refused alike, whether the row or the tenant exists or not', async () => {
  for (const table of probed.roots) {
    const told = new Set<string>();
    for (const [tenantId, n] of [
      [victim, 1],
      [victim, 999],
      ['gamma', 1],
    ] as const) {
      const { text, values } = insertOf(table, tenantId, n);
      for (const conflict of ['', 'ON CONFLICT DO NOTHING']) {
        const { error } = await attempt(probed, stranger, `${text} ${conflict}`, values);
        assert.equal(error?.code, denied, `${table.name} ${conflict}`);
        told.add(`${error.message} ${error.detail ?? ''}`);
      }
    }
    assert.equal(told.size, 1, `${table.name}: ${[...told].join(' | ')}`);
    assert.ok(![...told].join().includes(canary));
  }
});

test('ON CONFLICT DO UPDATE reaches no foreign row', async () => {
  for (const table of probed.roots) {
    const { text, values } = insertOf(table, victim, 1);
    const clause = `ON CONFLICT (${table.keys.join(', ')}) DO UPDATE SET tenant_id = '${stranger}' RETURNING *`;
    const { error } = await attempt(probed, stranger, `${text} ${clause}`, values);
    assert.equal(error?.code, denied, table.name);
  }
});

test('a key that another tenant uses is free: no unique index tells of foreign rows', async () => {
  let tried = 0;
  for (const table of probed.roots.filter(({ keys }) => keys.length > 1)) {
    const { text, values } = insertOf(table, victim, rowsOfEach + 1);
    const own = values.map((value) => (value === victim ? stranger : value));
    const { error } = await attempt(probed, stranger, text, own);
    assert.equal(error, null, `${table.name}: ${error?.message}`);
    tried++;
  }
  assert.ok(tried >= 8);
});

test('the detail of a violated key names own values only', async () => {
  for (const table of probed.roots) {
    const { text, values } = insertOf(table, stranger, 1);
    const { error } = await attempt(probed, stranger, text, values);
    assert.equal(error?.code, '23505', table.name);
    assert.ok(!JSON.stringify(error).includes(canary) && !(error.detail ?? '').includes(victim), table.name);
  }
});

test('an expression that fails on a value is never run on foreign rows', async () => {
  for (const { name } of probed.roots) {
    // A tenant without rows: whatever fails must have looked at rows of somebody else.
    const text = `SELECT count(*)::int AS n FROM ${name} WHERE CAST(tenant_id || ' leaks' AS integer) = 0`;
    const { error, rows } = await attempt(probed, 'nobody', text);
    assert.equal(error, null, `${name}: ${error?.message}`);
    assert.equal(rows[0]?.['n'], 0, name);
  }
});
