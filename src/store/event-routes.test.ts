import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { header } from '../core/envelope.ts';
import { api } from './testing/api.ts';
import { type Given, harness, startMs, topics, until } from './testing/harness.ts';

const q = encodeURIComponent;

async function stored(t: Parameters<typeof harness>[0], events: readonly Given[], environment = {}) {
  const h = await harness(t);
  await h.give(events);
  await h.startStore();
  await until(async () => (await h.count('events', 'acme', 'globex')) === events.length);
  return { h, get: (await api(t, h, environment)).get };
}

const ids = (body: { events: { event_id: string }[] }): string[] =>
  body.events.map((event) => event.event_id);

describe('GET /v1/events', () => {
  test('finds events by id, key, request, type and time', async (t) => {
    const { get } = await stored(t, [
      {
        eventId: 'a',
        eventType: 'push',
        receivedAtMs: startMs,
        envelope: { idempotency_key: 'k1', request_id: 'r1' },
      },
      { eventId: 'b', eventType: 'pull', receivedAtMs: startMs + 1000, envelope: { request_id: 'r1' } },
      { eventId: 'c', eventType: 'push', receivedAtMs: startMs + 86_400_000 },
    ]);
    assert.deepEqual(ids((await get('/v1/events')).body), ['c', 'b', 'a']);
    assert.deepEqual(ids((await get('/v1/events?event_id=b')).body), ['b']);
    assert.deepEqual(ids((await get('/v1/events?idempotency_key=k1')).body), ['a']);
    assert.deepEqual(ids((await get('/v1/events?request_id=r1')).body), ['b', 'a']);
    assert.deepEqual(ids((await get('/v1/events?event_type=push')).body), ['c', 'a']);
    assert.deepEqual(ids((await get('/v1/events?from=2026-03-01T10:00:01Z&to=2026-03-02T10:00:00Z')).body), [
      'b',
    ]);
    assert.deepEqual(ids((await get('/v1/events?event_type=none')).body), []);
  });

  test('keeps numbers exact that JavaScript cannot hold', async (t) => {
    const { get } = await stored(t, [
      { eventId: 'a', dataText: '{"big": 9007199254740993, "precise": 0.1234567890123456789}' },
    ]);
    const list = await get('/v1/events');
    assert.ok(list.text.includes('"data":{"big": 9007199254740993, "precise": 0.1234567890123456789}'));
    const one = await get('/v1/events/a');
    assert.ok(one.text.includes('"big": 9007199254740993'));
  });

  test('finds by SQL/JSON path, and names the place of a mistake', async (t) => {
    const { get } = await stored(t, [
      { eventId: 'a', dataText: '{"repository":{"id":42},"labels":["x","y"]}' },
      { eventId: 'b', dataText: '{"repository":{"id":43},"draft":true}' },
      { eventId: 'c', dataText: 'null' },
    ]);
    assert.deepEqual(ids((await get(`/v1/events?q=${q('$.repository.id == 42')}`)).body), ['a']);
    assert.deepEqual(ids((await get(`/v1/events?q=${q('$.labels[*] ? (@ == "y")')}`)).body), ['a']);
    assert.deepEqual(ids((await get(`/v1/events?q=${q('$.draft')}`)).body), ['b']);
    assert.deepEqual(ids((await get(`/v1/events?q=${q('exists($.repository)')}&event_id=b`)).body), ['b']);
    for (const wrong of [
      '$.a ==',
      '$.a like_regex "("',
      '$missing == 1',
      '$.t.datetime() < "2026-01-01".datetime_tz()',
    ]) {
      const answer = await get(`/v1/events?q=${q(wrong)}`);
      assert.equal(answer.status, 400, wrong);
      assert.equal(answer.body.code, 'PULSE_STORE_PREDICATE_INVALID');
    }
    const named = await get(`/v1/events?q=${q('$.a === 1')}`);
    assert.match(named.body.detail, /syntax error at or near "=="? of jsonpath input|at or near/);
  });

  test('pages without repeating or leaving out, whatever is stored meanwhile', async (t) => {
    // Many events of one millisecond: the time alone must not be the cursor.
    const events = Array.from({ length: 25 }, (_, i) => ({
      eventId: `e${i}`,
      receivedAtMs: startMs + (i % 3),
      partition: i % 2,
    }));
    const { h, get } = await stored(t, events);
    const seen: string[] = [];
    let cursor: string | null = '';
    let pages = 0;
    while (cursor !== null) {
      const answer = await get(`/v1/events?limit=4${cursor === '' ? '' : `&cursor=${cursor}`}`);
      seen.push(...ids(answer.body));
      cursor = answer.body.next_cursor;
      pages++;
      await h.give([{ eventId: `later${pages}`, receivedAtMs: startMs + 5000 + pages }]);
      await until(async () => (await h.count('events', 'acme')) === 25 + pages);
    }
    assert.equal(pages, 7);
    assert.deepEqual([...seen].sort(), events.map((event) => event.eventId).sort());
  });

  test('ends a page early when its events are large, and never empty', async (t) => {
    const large = `{"text":"${'x'.repeat(900_000)}"}`;
    const { get } = await stored(
      t,
      Array.from({ length: 12 }, () => ({ dataText: large })),
    );
    const first = await get('/v1/events?limit=1000');
    assert.ok(first.body.events.length >= 9 && first.body.events.length < 12);
    const rest = await get(`/v1/events?limit=1000&cursor=${first.body.next_cursor}`);
    assert.equal(first.body.events.length + rest.body.events.length, 12);
    assert.equal(rest.body.next_cursor, null);
  });

  test('shows the administrator all tenants in one order, or the one asked for', async (t) => {
    const { get } = await stored(t, [
      { eventId: 'a', receivedAtMs: startMs },
      { eventId: 'b', tenantId: 'globex', receivedAtMs: startMs + 1 },
      { eventId: 'c', receivedAtMs: startMs + 2 },
    ]);
    assert.deepEqual(ids((await get('/v1/events', 'admin')).body), ['c', 'b', 'a']);
    const page = await get('/v1/events?limit=2', 'admin');
    assert.deepEqual(ids(page.body), ['c', 'b']);
    assert.deepEqual(ids((await get(`/v1/events?limit=2&cursor=${page.body.next_cursor}`, 'admin')).body), [
      'a',
    ]);
    assert.deepEqual(ids((await get('/v1/events?tenant_id=globex', 'admin')).body), ['b']);
  });

  test('refuses cursors, times and limits that make no sense', async (t) => {
    const { get } = await stored(t, [{}]);
    const cases = {
      'cursor=bm9uc2Vuc2U': 'PULSE_STORE_CURSOR_INVALID',
      'from=yesterday': 'PULSE_STORE_RANGE_INVALID',
      'from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z': 'PULSE_STORE_RANGE_INVALID',
      'limit=1001': 'PULSE_REQUEST_INVALID',
      'limit=0': 'PULSE_REQUEST_INVALID',
      'event=1': 'PULSE_REQUEST_INVALID',
    };
    for (const [query, code] of Object.entries(cases)) {
      const answer = await get(`/v1/events?${query}`);
      assert.deepEqual([answer.status, answer.body.code], [400, code], query);
    }
  });

  test('ends a search that takes too long', async (t) => {
    const { get } = await stored(
      t,
      Array.from({ length: 200 }, () => ({ dataText: `{"a":[${'1,'.repeat(2000)}1]}` })),
      { PULSE_STORE_QUERY_TIMEOUT_MS: '100' },
    );
    const slow = '$.a[*] ? (@ == $.a[*] ? (@ > 1))';
    const answer = await get(`/v1/events?q=${q(slow)}`);
    assert.deepEqual([answer.status, answer.body.code], [422, 'PULSE_STORE_QUERY_TIMEOUT']);
  });
});

describe('GET /v1/events/{event_id}', () => {
  test('shows receipt and position, and answers a foreign id like one that never was', async (t) => {
    const { h, get } = await stored(t, [
      { eventId: 'a', envelope: { subject: 's' } },
      { eventId: 'g', tenantId: 'globex' },
    ]);
    const { body } = await get('/v1/events/a');
    assert.equal(body.receipt_id, `rcp_acme.${h.epoch}.0.0`);
    assert.equal(body.position, `${h.epoch}.0.0`);
    assert.equal(body.subject, 's');
    const foreign = await get('/v1/events/g');
    const unknown = await get('/v1/events/x');
    assert.equal(foreign.status, 404);
    assert.equal(foreign.body.detail.replace("'g'", "'x'"), unknown.body.detail);
    assert.equal(foreign.body.code, unknown.body.code);
  });

  test('gives back the original bytes while the log has them', async (t) => {
    const { h, get } = await stored(t, [{ eventId: 'a' }, { eventId: 'b' }]);
    const original = '{ "event_type":"trip.finished",\n "data":{"n":1.0} }';
    await h.log.append(topics.raw, [
      { partition: 0, key: null, headers: { [header.tenant]: 'acme' }, value: Buffer.from(original) },
      { partition: 0, key: null, headers: { [header.tenant]: 'globex' }, value: Buffer.from('secret') },
    ]);
    const raw = await get('/v1/events/a/raw').catch((error: unknown) => error as Error);
    assert.ok(!(raw instanceof Error));
    assert.equal(raw.text, original);
    assert.equal((await get('/v1/events/b/raw')).status, 410);
  });
});
