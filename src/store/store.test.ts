import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { harness, startMs, until } from './testing/harness.ts';

describe('the store', () => {
  test('stores each valid record once, with its position and counts', async (t) => {
    const h = await harness(t);
    await h.give([
      {},
      { partition: 1 },
      { tenantId: 'globex', eventId: 'g' },
      { dataText: '{"n":9007199254740993}' },
    ]);
    await h.startStore();
    await until(async () => (await h.count('events', 'acme', 'globex')) === 4);
    assert.equal(await h.count('events', 'acme'), 3);
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
    const counts = await h.database.withTenants(['acme', 'globex'], (client) =>
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
    assert.equal(await h.count('event_counts', 'acme'), 2);
  });
});
