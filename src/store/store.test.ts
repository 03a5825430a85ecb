import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from 'pg';
import { readStageErrors } from '../database/stage-errors.ts';
import { recheckMs } from './owned-partitions.ts';
import { faultyDatabase, type Moment } from './testing/faulty-database.ts';
import { type Harness, harness, startMs, topics, until } from './testing/harness.ts';

const all = ['acme', 'globex'];

/** Every stored event of a tenant as `partition.offset`, in order, with doubles if there are any. */
async function storedPlaces(h: Harness, ...tenantIds: string[]): Promise<string[]> {
  const { rows } = await h.database.withTenants(tenantIds, (client) =>
    client.query<{ place: string }>(
      `SELECT partition || '.' || record_offset AS place FROM events ORDER BY partition, record_offset`,
    ),
  );
  return rows.map((row) => row.place);
}

async function storedCount(h: Harness): Promise<number> {
  const { rows } = await h.database.withTenants(all, (client) =>
    client.query<{ n: number }>(
      `SELECT coalesce(sum(events), 0)::bigint AS n FROM stage_counts WHERE stage = 'store' AND outcome = 'stored'`,
    ),
  );
  return rows[0]?.n ?? 0;
}

async function asOwner(h: Harness, sql: string): Promise<void> {
  const client = new Client({ connectionString: h.ownerUrl });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}

describe('the store', () => {
  test('stores each valid record once, with its position and counts', async (t) => {
    const h = await harness(t);
    await h.give([{}, { partition: 1 }, { tenantId: 'globex' }, { dataText: '{"n":9007199254740993}' }]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 4);
    const { rows } = await h.database.withTenant('acme', (client) =>
      client.query(
        'SELECT event_id, epoch, partition, record_offset, data::text FROM events ORDER BY partition, record_offset',
      ),
    );
    assert.deepEqual(rows, [
      { event_id: 'event-0-0', epoch: h.epoch, partition: 0, record_offset: 0, data: '{}' },
      {
        event_id: 'event-0-2',
        epoch: h.epoch,
        partition: 0,
        record_offset: 2,
        data: '{"n": 9007199254740993}',
      },
      { event_id: 'event-1-0', epoch: h.epoch, partition: 1, record_offset: 0, data: '{}' },
    ]);
    const counts = await h.database.withTenants(all, (client) =>
      client.query(
        `SELECT tenant_id, outcome, sum(events)::bigint AS events, min(received_minute) AS minute
         FROM stage_counts WHERE stage = 'store' GROUP BY 1, 2 ORDER BY 1`,
      ),
    );
    const minute = new Date(startMs);
    assert.deepEqual(counts.rows, [
      { tenant_id: 'acme', outcome: 'stored', events: 3, minute },
      { tenant_id: 'globex', outcome: 'stored', events: 1, minute },
    ]);
    // By minute and by hour, in each of two partitions.
    assert.equal(await h.count('event_counts', 'acme'), 4);
  });

  test('goes on where it stopped, also when the log has forgotten its offsets', async (t) => {
    const h = await harness(t);
    await h.give([{}, {}, { partition: 1 }]);
    const first = await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 3);
    await first.stop();
    await (h.log as unknown as { dropGroup(group: string): Promise<boolean> }).dropGroup('store');
    await h.give([{}, { partition: 1 }]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 5);
    assert.deepEqual(await storedPlaces(h, ...all), ['0.0', '0.1', '0.2', '1.0', '1.1']);
    assert.equal(await storedCount(h), 5);
  });

  test('skips records that process emits again after a crash of its own', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give([{}, {}]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 2);
    await h.give([{ offset: 0, previous: null }, { offset: 1 }, {}]);
    await until(async () => (await h.count('events', ...all)) === 3);
    assert.deepEqual(await storedPlaces(h, ...all), ['0.0', '0.1', '0.2']);
    assert.equal(await storedCount(h), 3);
  });

  const moments: readonly Moment[] = [
    'before the transaction',
    'before COMMIT',
    'COMMIT lost, not done',
    'COMMIT lost, but done',
  ];
  for (const moment of moments) {
    test(`stores each record exactly once when cut off ${moment}`, async (t) => {
      const h = await harness(t, { partitions: 1 });
      await h.give(Array.from({ length: 20 }, () => ({})));
      const faulty = faultyDatabase(h.database, moment);
      await h.startStore({ PULSE_STORE_BATCH_EVENTS: '7' }, faulty);
      await until(async () => (await h.count('events', ...all)) === 20);
      await until(async () => (await storedCount(h)) === 20);
      assert.ok(faulty.hasBroken());
      assert.equal(new Set(await storedPlaces(h, ...all)).size, 20);
    });
  }

  test('reads its position again when the backend dies in COMMIT', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await asOwner(
      h,
      `CREATE SEQUENCE deaths;
       CREATE FUNCTION die_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
       BEGIN
         IF nextval('deaths') = 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
         RETURN NULL;
       END $$;
       CREATE CONSTRAINT TRIGGER die AFTER INSERT OR UPDATE ON stage_positions
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die_once()`,
    );
    await h.give(Array.from({ length: 20 }, () => ({})));
    const store = await h.startStore({ PULSE_STORE_BATCH_EVENTS: '8' });
    await until(async () => (await h.count('events', ...all)) === 20);
    assert.equal(await storedCount(h), 20);
    assert.equal(store.problem(), null);
  });

  test('parks a row that Postgres refuses and stores its neighbours', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const bad = { eventId: 'bad', dataText: '{"text":"\\u0000"}' };
    await h.give([...Array.from({ length: 10 }, () => ({})), bad, {}, { value: 'no JSON at all' }, {}]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 12);
    const { rows } = await h.database.withTenant('acme', (client) =>
      client.query<{ event_id: string; record_offset: number; code: string; value: Buffer }>(
        'SELECT event_id, record_offset, code, value FROM store_parked ORDER BY record_offset',
      ),
    );
    assert.deepEqual(
      rows.map(({ event_id, record_offset, code }) => ({ event_id, record_offset, code })),
      [
        { event_id: 'bad', record_offset: 10, code: '22P05' },
        { event_id: 'event-0-12', record_offset: 12, code: '22P02' },
      ],
    );
    assert.match(rows[0]?.value.toString() ?? '', /"text":"\\u0000"/);
    const counts = await h.database.withTenant('acme', (client) =>
      client.query(
        `SELECT outcome, sum(events)::bigint AS events FROM stage_counts WHERE stage = 'store' GROUP BY 1 ORDER BY 1`,
      ),
    );
    assert.deepEqual(counts.rows, [
      { outcome: 'parked', events: 2 },
      { outcome: 'stored', events: 12 },
    ]);
  });

  test('never stores a row twice, even when its position has gone back', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give([{}, {}]);
    const first = await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 2);
    await first.stop();
    await asOwner(h, 'DELETE FROM stage_positions');
    await h.give([{}]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 3);
    assert.equal(await storedCount(h), 3);
  });

  test('stops a partition at a gap, names it, and goes on with the others', async (t) => {
    const h = await harness(t);
    await h.give([{}]);
    const store = await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 1);
    await h.give([
      { offset: 7, previous: { epoch: h.epoch, partition: 0, offset: 5 } },
      {},
      { partition: 1 },
    ]);
    await until(() => store.problem() !== null);
    await until(async () => (await h.count('events', ...all)) === 2);
    assert.match(store.problem() ?? '', /events\.valid\/0: PULSE_STORE_GAP: .*follows \d+\.0\.5/);
    const [error] = await readStageErrors(h.database);
    assert.equal(error?.code, 'PULSE_STORE_GAP');
    assert.deepEqual(await storedPlaces(h, ...all), ['0.0', '1.0']);
    await h.give([{}, { partition: 1 }]);
    await until(async () => (await h.count('events', ...all)) === 3);
    h.clock.advance(recheckMs);
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.match(store.problem() ?? '', /PULSE_STORE_GAP/);
    assert.deepEqual(await storedPlaces(h, ...all), ['0.0', '1.0', '1.1']);
  });

  test('stops at an unknown epoch and goes on once the database knows it', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give([{}, { epoch: h.epoch + 1, offset: 0 }]);
    const store = await h.startStore();
    await until(() => store.problem() !== null);
    assert.match(store.problem() ?? '', /PULSE_STORE_EPOCH_UNKNOWN/);
    assert.equal(await h.count('events', ...all), 1);
    await asOwner(
      h,
      `INSERT INTO log_epochs (epoch, topic, incarnation) OVERRIDING SYSTEM VALUE VALUES (${h.epoch + 1}, '${topics.raw}', 'next')`,
    );
    h.clock.advance(recheckMs);
    await until(async () => (await h.count('events', ...all)) === 2);
    await until(() => store.problem() === null);
    await until(async () => (await readStageErrors(h.database)).length === 0);
  });

  test('stops when the valid topic ends before what is stored', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give([{}]);
    await asOwner(
      h,
      `INSERT INTO stage_positions (stage, epoch, partition, source_offset, log_offset) VALUES ('store', ${h.epoch}, 0, 50, 51)`,
    );
    const store = await h.startStore();
    await until(() => store.problem() !== null);
    assert.match(store.problem() ?? '', /PULSE_STORE_LOG_REPLACED/);
    assert.equal(await h.count('events', ...all), 0);
  });

  test('takes up the topics of a dedicated tenant that comes at runtime', async (t) => {
    const h = await harness(t);
    await h.give([{}]);
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 1);
    h.directory.add('initech', 'dedicated');
    const names = h.directory.topics('initech');
    const options = { partitions: 1, retentionMs: 0, retentionBytes: 0 };
    for (const topic of Object.values(names)) await h.log.createTopic(topic, options);
    const info = await h.log.describeTopic(names.raw);
    await asOwner(
      h,
      `INSERT INTO log_epochs (topic, incarnation) VALUES ('${names.raw}', '${info?.incarnation ?? ''}')`,
    );
    const { rows } = await h.database.query<{ epoch: number }>('SELECT max(epoch) AS epoch FROM log_epochs');
    await h.give([{ tenantId: 'initech', epoch: rows[0]?.epoch ?? 0 }], names);
    await until(async () => (await h.count('events', 'initech')) === 1);
  });

  test('waits for a database that refuses and stores everything afterwards', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await asOwner(h, 'REVOKE INSERT ON events FROM pulse_app');
    await h.give([{}, {}]);
    const store = await h.startStore();
    await new Promise((resolve) => setTimeout(resolve, 300));
    h.clock.advance(10_000);
    await until(() => store.problem() !== null);
    assert.match(store.problem() ?? '', /42501/);
    await asOwner(h, 'GRANT INSERT ON events TO pulse_app');
    await until(async () => (await h.count('events', ...all)) === 2);
    assert.equal(await h.count('store_parked', ...all), 0);
    await until(() => store.problem() === null);
  });

  test('counts a flood of event types as one beyond a bound', async (t) => {
    const h = await harness(t, { partitions: 1 });
    await h.give(Array.from({ length: 300 }, (_, i) => ({ eventType: `type-${i}` })));
    await h.startStore();
    await until(async () => (await h.count('events', ...all)) === 300);
    const { rows } = await h.database.withTenant('acme', (client) =>
      client.query(
        `SELECT sum(events)::bigint AS events, count(*) AS rows FROM event_counts WHERE bucket_minutes = 1`,
      ),
    );
    assert.deepEqual(rows, [{ events: 300, rows: 257 }]);
  });
});
