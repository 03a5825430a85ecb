import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from 'pg';
import { silentLogger } from '../../tests/support/database.ts';
import { applyRetention, PartitionCalendar } from './partitions.ts';
import { type Harness, harness, startMs, until } from './testing/harness.ts';

const dayMs = 86_400_000;

async function partitions(h: Harness): Promise<string[]> {
  const { rows } = await h.database.query<{ name: string }>(
    `SELECT relname AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'events'::regclass ORDER BY 1`,
  );
  return rows.map((row) => row.name);
}

function retain(h: Harness, retentionDays: number) {
  const calendar = new PartitionCalendar(h.database, silentLogger);
  const { database, clock } = h;
  return applyRetention({ database, calendar, clock, retentionDays, tenantIds: ['acme', 'globex'] });
}

describe('day partitions', () => {
  test('are made ahead and before the first row of a day', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await retain(h, 30);
    assert.deepEqual(await partitions(h), [
      'events_20260301',
      'events_20260302',
      'events_20260303',
      'events_20260304',
      'events_default',
    ]);
    await h.give([{ receivedAtMs: startMs - 3 * dayMs }]);
    await h.startStore();
    await until(async () => (await h.count('events', 'acme')) === 1);
    assert.ok((await partitions(h)).includes('events_20260226'));
  });

  test('are protected like their parent, also when they come later', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await new PartitionCalendar(h.database, silentLogger).ensure(['2026-05-05']);
    const { rows } = await h.database.query(
      `SELECT relrowsecurity, relforcerowsecurity, has_table_privilege('pulse_app', oid, 'SELECT') AS readable,
              (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid) AS policies
       FROM pg_class WHERE relname = 'events_20260505'`,
    );
    assert.deepEqual(rows, [
      { relrowsecurity: true, relforcerowsecurity: true, readable: false, policies: 1 },
    ]);
  });

  test('go with everything they hold when their time is over', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const ages = [0, 1, 2, 3, 40].map((days) => ({ receivedAtMs: startMs - days * dayMs }));
    await h.give(ages);
    const store = await h.startStore({ PULSE_STORE_RETENTION_DAYS: '3650' });
    await until(async () => (await h.count('events', 'acme')) === 5);
    await store.stop();
    const result = await retain(h, 2);
    assert.deepEqual(result.droppedDays, ['2026-01-20', '2026-02-26']);
    assert.equal(await h.count('events', 'acme'), 3);
    assert.equal(await h.count('event_counts', 'acme'), 6);
    assert.deepEqual((await retain(h, 2)).droppedDays, []);
  });

  test('are never dropped while their day may still come', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { rows } = await h.database.query<{ today: string }>(
      "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS today",
    );
    const today = rows[0]?.today ?? '';
    await assert.rejects(
      h.database.query('SELECT pulse_store_drop_partition(($1::date + 1))', [today]),
      /not old enough/,
    );
  });

  test('leave absurd days to the default partition, which is searched and aged alike', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give([{ receivedAtMs: Date.UTC(1999, 11, 31) }, {}]);
    const store = await h.startStore({ PULSE_STORE_RETENTION_DAYS: '3650' });
    // The running store's own retention has run before or runs after: both leave today's event alone.
    await until(async () => (await h.count('events', 'acme')) >= 1);
    await until(async () => (await h.count('event_counts', 'acme')) >= 1);
    await store.stop();
    await retain(h, 30);
    assert.equal(await h.count('events', 'acme'), 1);
    assert.equal((await partitions(h)).includes('events_19991231'), false);
  });

  test('keep the rows of a day together when the default partition has them already', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const owner = new Client({ connectionString: h.ownerUrl });
    await owner.connect();
    await owner.query(
      `INSERT INTO events (tenant_id, event_id, received_at, event_type, event_time, protocol, attempt, enrichment, data,
         epoch, partition, record_offset, bytes)
       VALUES ('acme', 'early', '2026-07-07T12:00:00Z', 'x', now(), 'native', 1, '{}', '{}', 1, 0, 999, 2)`,
    );
    await owner.end();
    const calendar = new PartitionCalendar(h.database, silentLogger);
    assert.deepEqual([...(await calendar.ensure(['2026-07-07', '2026-07-08']))], ['2026-07-07']);
    assert.equal(await h.count('events', 'acme'), 1);
    assert.deepEqual(await partitions(h), ['events_20260708', 'events_default']);
  });
});
