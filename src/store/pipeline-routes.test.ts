import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { recordStageError } from '../database/stage-errors.ts';
import { api } from './testing/api.ts';
import { harness, startMs, topics, until } from './testing/harness.ts';
import { accept, claimThrough, countOutcomes } from './testing/process-by-hand.ts';

describe('GET /v1/reconciliation', () => {
  test('adds up by tenant and minute, and says what waits', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    await accept(h, 'acme', 'a', 'b', 'c', 'd', 'e', 'f');
    await claimThrough(h, 4);
    await countOutcomes(h, 'acme', { accepted: 5, valid: 3, duplicate: 1, dead_letter: 1 });
    await countOutcomes(h, 'globex', { accepted: 7, valid: 7 });
    await h.give([{}, {}, { receivedAtMs: startMs + 60_000 }]);
    const before = (await get('/v1/reconciliation')).body;
    assert.deepEqual(
      [before.accepted, before.stored, before.in_flight, before.closed, before.unprocessed],
      [5, 0, 3, true, 1],
    );
    await h.startStore();
    await until(async () => (await h.count('events', 'acme')) === 3);
    await countOutcomes(h, 'acme', { accepted: -1, valid: -1 });
    await countOutcomes(h, 'acme', { accepted: 1, valid: 1 }, startMs + 60_000);
    const { body } = await get('/v1/reconciliation');
    const rest = { duplicates: 1, dead_letters: 1, dropped: 0, in_flight: 0, parked: 0 };
    assert.deepEqual(body, {
      from: '2026-02-28T10:00:00.000Z',
      to: null,
      accepted: 5,
      stored: 3,
      ...rest,
      closed: true,
      unprocessed: 1,
      minutes: [
        { minute: '2026-03-01T10:00:00.000Z', accepted: 4, stored: 2, ...rest },
        {
          minute: '2026-03-01T10:01:00.000Z',
          accepted: 1,
          stored: 1,
          ...rest,
          duplicates: 0,
          dead_letters: 0,
        },
      ],
    });
    const oneMinute = await get('/v1/reconciliation?from=2026-03-01T10:01:00Z&to=2026-03-01T10:02:00Z');
    assert.deepEqual([oneMinute.body.accepted, oneMinute.body.stored], [1, 1]);
    assert.equal((await get('/v1/reconciliation', 'admin')).body.accepted, 12);
  });

  test('does not close when events are missing', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    await h.give([{}]);
    await h.startStore();
    await until(async () => (await h.count('events', 'acme')) === 1);
    await countOutcomes(h, 'acme', { accepted: 2, valid: 2 });
    const { body } = await get('/v1/reconciliation');
    assert.deepEqual([body.in_flight, body.closed], [1, false]);
  });

  test('closes over parked events, and names them', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    await h.give([{}, { dataText: '"\\u0000"' }]);
    await countOutcomes(h, 'acme', { accepted: 2, valid: 2 });
    await h.startStore();
    await until(async () => (await h.count('store_parked', 'acme')) === 1);
    const { body } = await get('/v1/reconciliation');
    assert.deepEqual([body.stored, body.in_flight, body.parked, body.closed], [1, 1, 1, true]);
  });
});

describe('GET /v1/pipeline', () => {
  test('shows lag, throughput and trouble of each stage from database and log alone', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { get } = await api(t, h);
    await accept(h, 'acme', 'a', 'b');
    await countOutcomes(h, 'acme', { accepted: 300 }, startMs - 120_000);
    await h.give([{}, {}, {}]);
    const problem = { code: 'PULSE_STORE_GAP', detail: 'an event of globex', atMs: startMs };
    await recordStageError(h.database, { stage: 'store', topic: topics.valid, partition: 0 }, problem);
    const { body } = await get('/v1/pipeline', 'admin');
    const [process, deadLetters, store] = body.stages;
    assert.deepEqual(
      [process.stage, process.lag_events, process.events_per_second, process.state],
      ['process', 2, 1, 'running'],
    );
    assert.deepEqual([deadLetters.stage, deadLetters.lag_events], ['dead-letters', 0]);
    assert.deepEqual([store.stage, store.lag_events, store.state], ['store', 3, 'stopped']);
    assert.deepEqual(store.partitions[0].error, {
      code: 'PULSE_STORE_GAP',
      detail: 'an event of globex',
      at: '2026-03-01T10:00:00.000Z',
    });
    const own = await get('/v1/pipeline');
    assert.equal(own.body.stages[2].partitions[0].error.detail, null);
  });

  test('shows a tenant no topic of another one', async (t) => {
    const h = await harness(t, { partitions: 1 });
    h.directory.add('initech', 'dedicated');
    for (const topic of Object.values(h.directory.topics('initech'))) {
      await h.log.createTopic(topic, { partitions: 1, retentionMs: 0, retentionBytes: 0 });
    }
    const { get } = await api(t, h);
    assert.ok(!(await get('/v1/pipeline')).text.includes('initech'));
    assert.ok(!(await get('/v1/pipeline', 'initech')).text.includes('"events.raw"'));
    const all = await get('/v1/pipeline', 'admin');
    assert.ok(all.text.includes('"events.raw"') && all.text.includes('"initech.events.raw"'));
  });
});
