import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testDatabase } from '../../tests/support/database.ts';

test('opens and answers', async (t) => {
  const { database } = await testDatabase(t);
  const { rows } = await database.query<{ n: number }>('SELECT 5000000000::bigint AS n');
  assert.equal(rows[0]?.n, 5_000_000_000);
});
test('binds', async (t) => {
  const { database } = await testDatabase(t);
  const { rows } = await database.withTenants(['a', 'b'], async (c) =>
    c.query<{ n: string[] }>('SELECT pulse_tenants() AS n'),
  );
  assert.deepEqual(rows[0]?.n, ['a', 'b']);
});
