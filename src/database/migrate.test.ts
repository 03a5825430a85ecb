// Migrations against an empty database: order, refusals, concurrent runs.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from 'pg';
import { emptyTestDatabase, silentLogger } from '../../tests/support/database.ts';
import { hasCode } from '../core/errors.ts';
import { deriveAppUrl } from './connect.ts';
import { findMigrations, migrate } from './migrate.ts';

type Files = Readonly<Record<string, string>>;

const files: Files = {
  'one/migrations/0001_first.sql': 'CREATE TABLE first (id int); GRANT SELECT ON first TO pulse_app;',
  'one/migrations/0002_second.sql': 'ALTER TABLE first ADD COLUMN name text;',
  'two/migrations/0010_third.sql': 'CREATE TABLE third (id int);',
};

async function folderOf(t: TestContext, content: Files): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'pulse-migrate-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  await write(root, content);
  return root;
}

async function write(root: string, content: Files): Promise<void> {
  for (const [path, sql] of Object.entries(content)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), sql);
  }
}

async function ask(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows.map((row: object) => Object.values(row)[0] as unknown);
  } finally {
    await client.end();
  }
}

test('applies the migrations of all rooms in order of number, and each once', async (t) => {
  const urls = { ...(await emptyTestDatabase(t)), logger: silentLogger };
  const root = await folderOf(t, files);
  assert.deepEqual(await migrate({ ...urls, root }), ['0001_first', '0002_second', '0010_third']);
  assert.deepEqual(await migrate({ ...urls, root }), []);
  await write(root, { 'one/migrations/0003_later.sql': 'CREATE TABLE later (id int);' });
  assert.deepEqual(await migrate({ ...urls, root }), ['0003_later']);
  assert.deepEqual(await ask(urls.appUrl, 'SELECT id FROM first'), []);
  assert.deepEqual(
    await ask(
      urls.ownerUrl,
      "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'pulse_app'",
    ),
    [false],
  );
});

test('a migration that fails is rolled back whole, and those before it stay', async (t) => {
  const urls = { ...(await emptyTestDatabase(t)), logger: silentLogger };
  const broken = 'CREATE TABLE half (id int);\nSELECT nonsense;';
  const root = await folderOf(t, { ...files, 'two/migrations/0011_broken.sql': broken });
  await assert.rejects(
    migrate({ ...urls, root }),
    (error) =>
      hasCode(error, 'PULSE_DATABASE_MIGRATION_FAILED') &&
      /0011_broken \(line 2\): .*nonsense/.test(error.message),
  );
  assert.deepEqual(await ask(urls.ownerUrl, "SELECT to_regclass('half')::text"), [null]);
  assert.deepEqual(await ask(urls.ownerUrl, 'SELECT number FROM pulse_migrations ORDER BY 1'), [1, 2, 10]);
});

test('a changed, a vanished and a skipped migration are each refused by name', async (t) => {
  const urls = { ...(await emptyTestDatabase(t)), logger: silentLogger };
  await migrate({ ...urls, root: await folderOf(t, files) });
  const refuses = async (content: Files, code: string, named: RegExp) => {
    const root = await folderOf(t, content);
    await assert.rejects(
      migrate({ ...urls, root }),
      (error) => hasCode(error, code) && named.test(error.message),
    );
  };
  const changed = { ...files, 'one/migrations/0002_second.sql': 'ALTER TABLE first ADD COLUMN other text;' };
  await refuses(changed, 'PULSE_DATABASE_MIGRATION_CHANGED', /0002_second/);
  const { 'two/migrations/0010_third.sql': _, ...older } = files;
  await refuses(older, 'PULSE_DATABASE_MIGRATION_MISSING', /0010_third/);
  const late = { ...files, 'two/migrations/0009_late.sql': 'SELECT 1;' };
  await refuses(late, 'PULSE_DATABASE_MIGRATION_GAP', /0010_third was applied without 0009_late/);
});

test('a gap in a room, a double number and a malformed name are refused before anything is applied', async (t) => {
  for (const path of [
    'two/migrations/0012_gap.sql',
    'two/migrations/0002_double.sql',
    'two/migrations/eleven.sql',
  ]) {
    const root = await folderOf(t, { ...files, [path]: 'SELECT 1;' });
    await assert.rejects(
      findMigrations(root),
      (error) => hasCode(error, 'PULSE_DATABASE_MIGRATION_GAP'),
      path,
    );
  }
});

test('line ends of a checkout do not change a checksum', async (t) => {
  const unix = await findMigrations(
    await folderOf(t, { 'a/migrations/0001_x.sql': 'SELECT 1;\nSELECT 2;\n' }),
  );
  const windows = await findMigrations(
    await folderOf(t, { 'a/migrations/0001_x.sql': 'SELECT 1;\r\nSELECT 2;\r\n' }),
  );
  assert.equal(unix[0]?.checksum, windows[0]?.checksum);
});

test('of processes that migrate at once, one does the work and the others find it done', async (t) => {
  const urls = { ...(await emptyTestDatabase(t)), logger: silentLogger };
  const root = await folderOf(t, { ...files, 'two/migrations/0011_slow.sql': 'SELECT pg_sleep(0.2);' });
  const results = await Promise.all(Array.from({ length: 4 }, () => migrate({ ...urls, root })));
  assert.deepEqual(results.map((applied) => applied.length).sort(), [0, 0, 0, 4]);
});

test('waiting for another process that migrates has an end', async (t) => {
  const urls = { ...(await emptyTestDatabase(t)), logger: silentLogger };
  const root = await folderOf(t, { 'a/migrations/0001_slow.sql': 'SELECT pg_sleep(0.6);' });
  const first = migrate({ ...urls, root });
  first.catch(() => {});
  let waited: unknown;
  // The first one may not have the lock yet, and then the second does the work: ask until one has waited.
  for (let i = 0; i < 20 && waited === undefined; i++) {
    await migrate({ ...urls, root: await folderOf(t, {}), lockTimeoutMs: 50 }).catch((error: unknown) => {
      if (!hasCode(error, 'PULSE_DATABASE_MIGRATION_MISSING')) waited = error;
    });
  }
  assert.ok(hasCode(waited, 'PULSE_DATABASE_MIGRATION_LOCKED'));
  await first;
});

test('the password of pulse_app at an outside server follows from the owner URL', () => {
  const appUrl = new URL(deriveAppUrl('postgres://owner:s%20ecret@db.example:5433/pulse?sslmode=require'));
  assert.equal(appUrl.username, 'pulse_app');
  assert.match(appUrl.password, /^[\w-]{43}$/);
  assert.equal(`${appUrl.host}${appUrl.pathname}${appUrl.search}`, 'db.example:5433/pulse?sslmode=require');
  assert.notEqual(appUrl.password, new URL(deriveAppUrl('postgres://owner:other@db.example/pulse')).password);
});
