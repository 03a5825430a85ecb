import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { api } from './testing/api.ts';
import { harness, startMs, until } from './testing/harness.ts';
import { countOutcomes } from './testing/process-by-hand.ts';

const minuteMs = 60_000;

async function served(t: Parameters<typeof harness>[0]) {
  const h = await harness(t);
  await h.give([
    { eventType: 'push', receivedAtMs: startMs },
    { eventType: 'push', receivedAtMs: startMs + minuteMs, partition: 1 },
    { eventType: 'pull', receivedAtMs: startMs + minuteMs },
    { eventType: 'push', receivedAtMs: startMs - 3 * 86_400_000 },
    { eventType: 'push', tenantId: 'globex', receivedAtMs: startMs },
  ]);
  await h.startStore();
  await until(async () => (await h.count('events', 'acme', 'globex')) === 5);
  h.clock.advance(2 * minuteMs);
  return { h, get: (await api(t, h)).get };
}

describe('GET /v1/metrics', () => {
  test('sums events by type and bucket over a timeframe', async (t) => {
    const { get } = await served(t);
    const { body } = await get('/v1/metrics?timeframe=5m');
    assert.deepEqual(
      [body.from, body.to, body.granularity],
      ['2026-03-01T09:57:00.000Z', '2026-03-01T10:02:00.000Z', '1m'],
    );
    assert.equal(body.totals.events, 3);
    assert.equal(body.totals.events_per_second, 0.01);
    assert.deepEqual(
      body.by_type.map((row: { event_type: string; events: number }) => [row.event_type, row.events]),
      [
        ['push', 2],
        ['pull', 1],
      ],
    );
    assert.deepEqual(
      body.series.map((point: { events: number; by_type: unknown }) => [point.events, point.by_type]),
      [
        [0, {}],
        [0, {}],
        [0, {}],
        [1, { push: 1 }],
        [2, { push: 1, pull: 1 }],
      ],
    );
    assert.equal((await get('/v1/metrics?timeframe=7d')).body.totals.events, 4);
    assert.equal((await get('/v1/metrics?timeframe=7d&event_type=pull')).body.totals.events, 1);
    const ranged = await get('/v1/metrics?from=2026-03-01T10:00:00Z&to=2026-03-01T11:00:00Z&granularity=15m');
    assert.equal(ranged.body.series.length, 4);
    assert.equal(ranged.body.series[0].events, 3);
  });

  test('is scoped by role and tenant', async (t) => {
    const { get } = await served(t);
    const events = async (path: string, as: string) => (await get(path, as)).body.totals?.events;
    assert.equal(await events('/v1/metrics?timeframe=5m', 'globex'), 1);
    assert.equal(await events('/v1/metrics?timeframe=5m', 'admin'), 4);
    assert.equal(await events('/v1/metrics?timeframe=5m&tenant_id=globex', 'admin'), 1);
    assert.equal((await get('/v1/metrics?tenant_id=globex', 'acme')).status, 403);
  });

  test('refuses spans with more points than it shows', async (t) => {
    const { get } = await served(t);
    const answer = await get('/v1/metrics?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&granularity=1m');
    assert.deepEqual([answer.status, answer.body.code], [400, 'PULSE_STORE_RANGE_INVALID']);
    assert.equal((await get('/v1/metrics?timeframe=5m&from=2026-01-01T00:00:00Z')).status, 400);
    assert.equal((await get('/v1/metrics?timeframe=2m')).status, 400);
  });
});

describe('GET /v1/stats', () => {
  test('shows what is going on now', async (t) => {
    const { h, get } = await served(t);
    await countOutcomes(h, 'acme', { accepted: 9, valid: 3, duplicate: 4, dead_letter: 2 });
    const { body } = await get('/v1/stats?window=5m');
    assert.equal(body.totals.events, 3);
    assert.deepEqual([body.accepted, body.duplicates, body.dead_letters], [9, 4, 2]);
    assert.equal(body.top_types[0].event_type, 'push');
    assert.equal(body.processing_delay_ms.events, 3);
    assert.ok(body.processing_delay_ms.p95 >= body.processing_delay_ms.p50);
    assert.equal((await get('/v1/stats', 'globex')).body.totals.events, 1);
  });
});
