// Epochs, positions and counts, with owners that race.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testDatabase } from '../../tests/support/database.ts';
import { hasCode } from '../core/errors.ts';
import { addStageCounts, type StageCount } from './counts.ts';
import { epochOf } from './epochs.ts';
import { advancePosition, readPositions, startOffsets } from './positions.ts';

const isFenced = (error: unknown) => hasCode(error, 'PULSE_DATABASE_POSITION_FENCED');

test('a topic has one epoch for each incarnation, whoever asks and however often', async (t) => {
  const { database } = await testDatabase(t);
  const raw = { topic: 'events.raw', incarnation: 'a' };
  const [first, ...others] = await Promise.all(Array.from({ length: 8 }, () => epochOf(database, raw)));
  assert.ok(first !== undefined && first >= 1);
  assert.ok(others.every((epoch) => epoch === first));
  const again = await epochOf(database, { ...raw, incarnation: 'b' });
  assert.notEqual(again, first);
  assert.equal(await epochOf(database, raw), first);
});

test('a position moves from what its owner knows, and only from there', async (t) => {
  const { database } = await testDatabase(t);
  const epoch = await epochOf(database, { topic: 'events.raw', incarnation: 'a' });
  const move = { stage: 'store', epoch, partition: 3 };
  const next = { sourceOffset: 41, logOffset: 12 };
  await database.withTenants([], (client) =>
    advancePosition(client, { ...move, expected: startOffsets, next }),
  );
  const later = { sourceOffset: 50, logOffset: 20 };
  for (const expected of [
    startOffsets,
    { sourceOffset: 40, logOffset: 12 },
    { sourceOffset: 41, logOffset: 11 },
  ]) {
    await assert.rejects(advancePosition(database, { ...move, expected, next: later }), isFenced);
  }
  await advancePosition(database, { ...move, expected: next, next: later });
  const [row] = await readPositions(database, 'store');
  assert.deepEqual({ ...row, updatedAt: null }, { epoch, partition: 3, ...later, updatedAt: null });
  assert.ok(row?.updatedAt instanceof Date);
  assert.deepEqual(await readPositions(database, 'process'), []);
  await assert.rejects(advancePosition(database, { ...move, expected: later, next }), RangeError);
});

test('a position that nobody made cannot be moved on', async (t) => {
  const { database } = await testDatabase(t);
  const epoch = await epochOf(database, { topic: 'events.raw', incarnation: 'a' });
  const expected = { sourceOffset: 5, logOffset: 6 };
  const next = { sourceOffset: 6, logOffset: 7 };
  await assert.rejects(
    advancePosition(database, { stage: 'store', epoch, partition: 0, expected, next }),
    isFenced,
  );
});

test('of two owners one wins, for the first row and for a later one, and the loser leaves nothing behind', async (t) => {
  const { database } = await testDatabase(t);
  const epoch = await epochOf(database, { topic: 'events.raw', incarnation: 'a' });
  let expected = startOffsets;
  for (const round of [1, 2]) {
    const next = { sourceOffset: round * 10, logOffset: round * 10 };
    const owners = ['acme', 'globex', 'initech'].map((tenantId) =>
      database.withTenant(tenantId, async (client) => {
        await addStageCounts(client, [countOf({ tenantId, outcome: `round_${round}` })]);
        await advancePosition(client, { stage: 'store', epoch, partition: 0, expected, next });
      }),
    );
    const results = await Promise.allSettled(owners);
    const lost = results.filter((result) => result.status === 'rejected');
    assert.equal(lost.length, 2);
    assert.ok(lost.every((result) => isFenced(result.reason)));
    expected = next;
  }
  const rows = await database.withTenants(['acme', 'globex', 'initech'], (client) =>
    client.query<{ outcome: string }>('SELECT outcome FROM stage_counts ORDER BY 1'),
  );
  assert.deepEqual(rows.rows, [{ outcome: 'round_1' }, { outcome: 'round_2' }]);
});

test('counts of one key are summed in one call and added over calls', async (t) => {
  const { database } = await testDatabase(t);
  const counts = [
    countOf({ events: 2, bytes: 10 }),
    countOf({ tenantId: 'globex' }),
    countOf({ events: 3, bytes: 5 }),
    countOf({ partition: 1 }),
  ];
  await database.withTenants(['acme', 'globex'], async (client) => {
    await addStageCounts(client, counts);
    await addStageCounts(client, counts.toReversed());
    await addStageCounts(client, [countOf({ events: -1, bytes: -4 })]);
    await addStageCounts(client, []);
  });
  const { rows } = await database.withTenants(['acme', 'globex'], (client) =>
    client.query(
      'SELECT tenant_id, partition, received_minute, events, bytes FROM stage_counts ORDER BY 1, 2',
    ),
  );
  const received_minute = new Date('2026-01-01T00:05:00.000Z');
  assert.deepEqual(rows, [
    { tenant_id: 'acme', partition: 0, received_minute, events: 9, bytes: 26 },
    { tenant_id: 'acme', partition: 1, received_minute, events: 2, bytes: 2 },
    { tenant_id: 'globex', partition: 0, received_minute, events: 2, bytes: 2 },
  ]);
});

test('transactions that add to the same counts in any order do not deadlock', async (t) => {
  const { database } = await testDatabase(t);
  const tenants = Array.from({ length: 20 }, (_, index) => `tenant-${index}`);
  const add = (ids: readonly string[]) =>
    database.withTenants(ids, (client) =>
      addStageCounts(
        client,
        ids.map((tenantId) => countOf({ tenantId })),
      ),
    );
  await Promise.all(Array.from({ length: 40 }, (_, i) => add(i % 2 === 0 ? tenants : tenants.toReversed())));
  const { rows } = await database.withTenants(tenants, (client) =>
    client.query('SELECT DISTINCT events FROM stage_counts'),
  );
  assert.deepEqual(rows, [{ events: 40 }]);
});

function countOf(changes: Partial<StageCount>): StageCount {
  return {
    tenantId: 'acme',
    receivedMinute: '2026-01-01T00:05:00.000Z',
    stage: 'store',
    outcome: 'stored',
    topic: 'events.valid',
    partition: 0,
    events: 1,
    bytes: 1,
    ...changes,
  };
}
