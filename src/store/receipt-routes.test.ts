import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { api } from './testing/api.ts';
import { harness, topics, until } from './testing/harness.ts';
import { accept, bury, claim, claimThrough } from './testing/process-by-hand.ts';

describe('GET /v1/receipts/{receipt_id}', () => {
  test('follows an event from the log into the store', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [receipt] = await accept(h, 'acme', 'a');
    const fresh = await get(`/v1/receipts/${receipt}`);
    assert.deepEqual(fresh.body, {
      receipt_id: receipt,
      event_id: 'a',
      event_type: 'trip.finished',
      state: 'in_flight',
      stages: {
        received: { state: 'done', at: '2026-03-01T10:00:00.000Z' },
        processed: { state: 'waiting', at: null },
        stored: { state: 'waiting', at: null },
      },
      position: `${h.epoch}.0.0`,
    });
    await claim(h, 'acme', 'a', 0);
    await claimThrough(h, 0);
    const processed = await get(`/v1/receipts/${receipt}`);
    assert.equal(processed.body.state, 'in_flight');
    assert.equal(processed.body.stages.processed.state, 'done');
    assert.equal(processed.body.stages.stored.state, 'waiting');
    await h.give([{ eventId: 'a' }]);
    await h.startStore();
    await until(async () => (await h.count('events', 'acme')) === 1);
    const stored = await get(`/v1/receipts/${receipt}`);
    assert.equal(stored.body.state, 'stored');
    assert.equal(stored.body.stages.stored.state, 'done');
    assert.ok(Date.parse(stored.body.stages.stored.at) > 0);
  });

  test('names the first event of a duplicate', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [first, second] = await accept(h, 'acme', 'a', 'a');
    await claim(h, 'acme', 'a', 0);
    await claimThrough(h, 1);
    const { body } = await get(`/v1/receipts/${second}`);
    assert.equal(body.state, 'duplicate');
    assert.equal(body.duplicate_of, first);
  });

  test('shows a dead letter, and waits while one may be on its way', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [, second] = await accept(h, 'acme', 'a', 'a');
    await claim(h, 'acme', 'a', 0);
    await claimThrough(h, 1);
    await h.log.append(topics.dlq, [{ partition: 0, key: null, headers: {}, value: Buffer.from('{}') }]);
    assert.equal((await get(`/v1/receipts/${second}`)).body.state, 'in_flight');
    await bury(h, 'acme', 'a', 1);
    const { body } = await get(`/v1/receipts/${second}`);
    assert.equal(body.state, 'dead_letter');
    assert.equal(body.dead_letter.code, 'invalid_envelope');
  });

  test('shows an event that Postgres refused as in flight and parked', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [receipt] = await accept(h, 'acme', 'a');
    await claim(h, 'acme', 'a', 0);
    await claimThrough(h, 0);
    await h.give([{ eventId: 'a', dataText: '"\\u0000"' }]);
    await h.startStore();
    await until(async () => (await h.count('store_parked', 'acme')) === 1);
    const { body } = await get(`/v1/receipts/${receipt}`);
    assert.equal(body.state, 'in_flight');
    assert.equal(body.stages.stored.state, 'parked');
  });

  test('answers a foreign receipt exactly like one that never was', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [receipt = ''] = await accept(h, 'globex', 'g');
    // Another tenant's receipt; its position under one's own name; a position behind the end; an epoch that never was.
    const wrong = [
      receipt,
      receipt.replace('globex', 'acme'),
      `rcp_acme.${h.epoch}.0.99`,
      'rcp_acme.4000000000.0.0',
      `rcp_acme.${h.epoch}.77.0`,
      'rcp_acme.1',
      'nonsense',
    ];
    for (const id of wrong) {
      const answer = await get(`/v1/receipts/${id}`);
      assert.equal(answer.status, 404, id);
      assert.equal(answer.body.code, 'PULSE_STORE_RECEIPT_UNKNOWN');
      assert.equal(answer.body.detail, `There is no receipt ${id}.`);
    }
    assert.equal((await get(`/v1/receipts/${receipt}`, 'globex')).status, 200);
    assert.equal((await get(`/v1/receipts/${receipt}`, 'admin')).status, 200);
  });

  test('says so when nothing that is kept knows the event any more', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    const [receipt] = await accept(h, 'acme', 'a');
    await claimThrough(h, 0);
    const { rows } = await h.database.query<{ epoch: number }>(
      `INSERT INTO log_epochs (topic, incarnation) VALUES ('${topics.raw}', 'an earlier log') RETURNING epoch`,
    );
    const old = `rcp_acme.${rows[0]?.epoch}.0.0`;
    for (const id of [receipt, old]) {
      const answer = await get(`/v1/receipts/${id}`);
      assert.deepEqual([answer.status, answer.body.code], [410, 'PULSE_STORE_RECEIPT_EXPIRED']);
    }
    await bury(h, 'acme', 'a', 0);
    assert.equal((await get(`/v1/receipts/${receipt}`)).body.state, 'dead_letter');
  });
});
