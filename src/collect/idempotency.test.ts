// Idempotency-Key: the same answer again, refusals, doubt, restart, and the bounds of the memory.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import {
  type Answer,
  type CollectServer,
  rawTopic,
  startCollect,
} from '../../tests/support/collect-server.ts';
import { MemoryEventLog } from '../../tests/support/memory-event-log.ts';
import { ManualClock } from '../core/clock.ts';
import { PulseError } from '../core/errors.ts';
import { logError } from '../ports/event-log/event-log.ts';
import { IdempotencyMemory } from './idempotency.ts';
import { idempotencyKeyOf } from './steps/remember.ts';

const batch = '[{"event_type":"a"},{"event_type":"b","event_id":"own"},{"event_type":"c"}]';

function keyed(server: CollectServer, body: string | Buffer, key: string, headers = {}): Promise<Answer> {
  return server.post('/v1/collect', body, { 'idempotency-key': key, ...headers });
}

/** Two answers that a client cannot tell apart, but for the header. */
function assertReplay(first: Answer, again: Answer): void {
  assert.equal(first.headers['idempotency-replayed'], undefined);
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.equal(again.status, first.status);
  assert.equal(again.text, first.text);
}

describe('Idempotency-Key', () => {
  test('gives the stored answer again and stores nothing', async (t) => {
    const server = await startCollect(t);
    const first = await keyed(server, batch, 'k-1');
    assertReplay(first, await keyed(server, batch, '"k-1";a=b'));
    assert.equal(server.log.all(rawTopic).length, 3);
    const one = await server.post('/events', '{"event_type":"x"}', { 'idempotency-key': 'k-2' });
    assertReplay(one, await server.post('/events', '{"event_type":"x"}', { 'idempotency-key': 'k-2' }));
    assert.equal(server.log.all(rawTopic).length, 4);
  });

  test('gives large batches and NDJSON with refused lines the same answer again', async (t) => {
    const server = await startCollect(t);
    const large = `[${Array.from({ length: 500 }, (_, n) => `{"event_type":"t","n":${n}}`).join(',')}]`;
    assertReplay(await keyed(server, large, 'large'), await keyed(server, large, 'large'));
    const lines = '{"event_type":"a"}\n{broken\n{"event_type":"b"}\n';
    const type = { 'content-type': 'application/x-ndjson' };
    const first = await keyed(server, lines, 'lines', type);
    assert.equal(first.json.rejected, 1);
    assertReplay(first, await keyed(server, lines, 'lines', type));
  });

  test('derives the ids of events without one, the same for the same key', async (t) => {
    const ids: string[][] = [];
    for (let run = 0; run < 2; run++) {
      const server = await startCollect(t);
      const answer = await keyed(server, batch, 'stable');
      ids.push(answer.json.receipts.map((receipt: { event_id: string }) => receipt.event_id));
    }
    assert.deepEqual(ids[0], ids[1]);
    assert.equal(ids[0]?.[1], 'own');
    assert.match(ids[0]?.[0] ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-5/);
    assert.notEqual(ids[0]?.[0], ids[0]?.[2]);
  });

  test('writes key, fingerprint and place into the records', async (t) => {
    const server = await startCollect(t);
    await keyed(server, batch, 'headers');
    const places = server.log.all(rawTopic).map(({ headers }) => {
      assert.equal(headers['pulse_idempotency_key'], 'headers');
      assert.match(headers['pulse_request_hash'] ?? '', /^[A-Za-z0-9_-]{43}$/);
      return headers['pulse_request_index'];
    });
    assert.deepEqual(places.sort(), ['0/3', '1/3', '2/3']);
  });

  test('keeps the keys of tenants apart', async (t) => {
    const server = await startCollect(t);
    await keyed(server, batch, 'shared');
    const other = await keyed(server, '{"event_type":"z"}', 'shared', { 'x-api-key': 'globex' });
    assert.equal(other.status, 202);
    assert.equal(other.headers['idempotency-replayed'], undefined);
  });

  test('refuses another payload under the same key with 422: bytes, path, kind, ce- headers', async (t) => {
    const server = await startCollect(t);
    const ce = { 'ce-id': '1', 'ce-type': 't' };
    await keyed(server, '{"event_type":"a"}', 'k');
    await keyed(server, '{}', 'ce', ce);
    const others = [
      await keyed(server, '{"event_type": "a"}', 'k'),
      await keyed(server, '{"event_type":"a"}', 'k', { 'content-type': 'application/x-ndjson' }),
      await server.post('/events', '{"event_type":"a"}', { 'idempotency-key': 'k' }),
      await keyed(server, '{}', 'ce', { ...ce, 'ce-type': 'u' }),
    ];
    for (const answer of others) {
      assert.deepEqual([answer.status, answer.json.code], [422, 'PULSE_COLLECT_IDEMPOTENCY_KEY_REUSED']);
    }
    assertReplay(
      await keyed(server, batch, 'gz'),
      await keyed(server, gzipSync(batch), 'gz', { 'content-encoding': 'gzip' }),
    );
  });

  test('answers 409 with Retry-After while the first is under way, also after its client went away', async (t) => {
    const server = await startCollect(t);
    let release = (): void => {};
    server.log.beforeAppend = () => new Promise((resolve) => (release = resolve));
    const first = keyed(server, batch, 'slow');
    while (server.log.appends === 0) await sleep(1);
    const meanwhile = await keyed(server, batch, 'slow');
    assert.deepEqual([meanwhile.status, meanwhile.headers['retry-after']], [409, '1']);
    release();
    assertReplay(await first, await keyed(server, batch, 'slow'));
  });

  test('is freed by a refusal and by a log that certainly stored nothing', async (t) => {
    const server = await startCollect(t);
    assert.equal((await keyed(server, '{broken', 'k')).status, 400);
    assert.equal((await keyed(server, '{"mended":1}', 'k')).status, 202);
    server.log.beforeAppend = () => Promise.reject(logError('PULSE_LOG_OVERLOADED', 'full'));
    const shed = await keyed(server, batch, 'o');
    assert.deepEqual([shed.status, shed.headers['retry-after']], [503, '1']);
    server.log.beforeAppend = null;
    assert.equal((await keyed(server, '{"another":1}', 'o')).status, 202);
  });

  test('stays taken after an append in doubt: the same payload may try again, another may not', async (t) => {
    const server = await startCollect(t);
    server.log.beforeAppend = () => Promise.reject(logError('PULSE_LOG_FAILED', 'no answer from the disk'));
    assert.equal((await keyed(server, batch, 'doubt')).status, 503);
    server.log.beforeAppend = () => Promise.reject(logError('PULSE_LOG_OVERLOADED', 'full'));
    assert.equal((await keyed(server, batch, 'doubt')).status, 503);
    server.log.beforeAppend = null;
    assert.equal((await keyed(server, '{}', 'doubt')).status, 422);
    const second = await keyed(server, batch, 'doubt');
    assert.equal(second.status, 202);
    assertReplay(second, await keyed(server, batch, 'doubt'));
  });

  test('is remembered for 30 minutes and then free', async (t) => {
    const clock = new ManualClock();
    const server = await startCollect(t, { clock });
    const first = await keyed(server, batch, 'k');
    clock.advance(29 * 60_000);
    assertReplay(first, await keyed(server, batch, 'k'));
    clock.advance(60_000);
    assert.equal((await keyed(server, '{}', 'k')).headers['idempotency-replayed'], undefined);
  });

  test('is remembered across a restart, with the same receipts', async (t) => {
    const clock = new ManualClock();
    const log = new MemoryEventLog(() => clock.now());
    const before = await startCollect(t, { log, clock });
    const old = await keyed(before, batch, 'old');
    clock.advance(20 * 60_000);
    const large = `[${Array.from({ length: 300 }, (_, n) => `{"n":${n}}`).join(',')}]`;
    const lines = '{"event_type":"a"}\nbroken\n{"event_type":"b"}';
    const type = { 'content-type': 'application/jsonl' };
    const answers = [await keyed(before, large, 'large'), await keyed(before, lines, 'lines', type)];
    const after = await startCollect(t, { log, clock });
    assert.equal(after.collect.status().idempotencyKeys, 3);
    assertReplay(old, await keyed(after, batch, 'old'));
    assertReplay(answers[0]!, await keyed(after, large, 'large'));
    assertReplay(answers[1]!, await keyed(after, lines, 'lines', type));
    assert.equal((await keyed(after, '{}', 'large')).status, 422);
    clock.advance(11 * 60_000);
    const later = await startCollect(t, { log, clock });
    assert.equal(later.collect.status().idempotencyKeys, 2);
    assert.equal((await keyed(later, batch, 'old')).headers['idempotency-replayed'], undefined);
  });

  test('is not remembered when only part of the request is in the log, or it was reprocessed', async (t) => {
    const log = new MemoryEventLog();
    const before = await startCollect(t, { log });
    await keyed(before, batch, 'half');
    await keyed(before, '{"x":1}', 'whole');
    const half = new MemoryEventLog();
    await half.createTopic(rawTopic, { partitions: 3, retentionMs: 0, retentionBytes: 0 });
    for (const record of log.all(rawTopic)) {
      if (record.headers['pulse_request_index'] !== '1/3') await half.append(rawTopic, [record]);
      await half.append(rawTopic, [{ ...record, headers: { ...record.headers, pulse_attempt: '2' } }]);
    }
    const after = await startCollect(t, { log: half });
    assert.equal(after.collect.status().idempotencyKeys, 1);
  });

  test('is rebuilt from the newest records only, as far as the bounds allow', async (t) => {
    const log = new MemoryEventLog();
    const before = await startCollect(t, { log });
    for (let n = 0; n < 60; n++) await keyed(before, `{"n":${n}}`, `k${n}`);
    const settings = { PULSE_COLLECT_IDEMPOTENCY_ENTRIES_MAX: 10 };
    const after = await startCollect(t, { log, settings });
    const keys = after.collect.status().idempotencyKeys;
    assert.ok(keys > 0 && keys <= 10, String(keys));
  });

  test('reads keys as the draft and its users write them', () => {
    assert.equal(idempotencyKeyOf(undefined), null);
    assert.equal(
      idempotencyKeyOf('8e03978e-40d5-43dd-bc93-6894a57f9324'),
      '8e03978e-40d5-43dd-bc93-6894a57f9324',
    );
    assert.equal(idempotencyKeyOf('"a b\\"c\\\\"'), 'a b"c\\');
    assert.equal(idempotencyKeyOf('"k"; p=1'), 'k');
    for (const bad of ['', '""', '"open', '"a"b', 'a b', 'a"b', 'é', '"é"', '"\\x"', 'x'.repeat(256)]) {
      assert.throws(() => idempotencyKeyOf(bad), { code: 'PULSE_COLLECT_IDEMPOTENCY_KEY_INVALID' }, bad);
    }
    assert.equal(idempotencyKeyOf('x'.repeat(255))?.length, 255);
  });
});

describe('IdempotencyMemory', () => {
  const places = { epoch: 1, partitions: [0], offsets: [5] };

  function fill(memory: IdempotencyMemory, from: number, to: number, stepMs: number): void {
    for (let n = from; n < to; n++) {
      const begun = memory.begin('t', `k${n}`, 'h', n * stepMs);
      if (begun.kind === 'first') memory.stored(begun.entry, places);
    }
  }

  test('forgets the oldest beyond its bounds and says how far back it reaches', () => {
    const memory = new IdempotencyMemory({ ttlMs: 1_000_000, entriesMax: 100, bytesMax: 1e9 });
    fill(memory, 0, 500, 10);
    assert.equal(memory.size, 100);
    assert.equal(memory.horizonMs, 1000);
    assert.equal(memory.begin('t', 'k499', 'h', 5000).kind, 'replay');
    assert.equal(memory.begin('t', 'k399', 'h', 5000).kind, 'first');
  });

  test('stays within its bytes', () => {
    const memory = new IdempotencyMemory({ ttlMs: 1_000_000, entriesMax: 1e9, bytesMax: 100_000 });
    fill(memory, 0, 2_000, 1);
    assert.ok(memory.bytes <= 100_000);
    assert.ok(memory.size > 400 && memory.size < 700, String(memory.size));
  });

  test('never forgets a request under way', () => {
    const memory = new IdempotencyMemory({ ttlMs: 1_000_000, entriesMax: 10, bytesMax: 1e9 });
    const begun = memory.begin('t', 'pending', 'h', 0);
    fill(memory, 0, 100, 1);
    assert.throws(() => memory.begin('t', 'pending', 'h', 100), PulseError);
    if (begun.kind === 'first') memory.stored(begun.entry, places);
    assert.equal(memory.begin('t', 'pending', 'h', 100).kind, 'replay');
    assert.ok(memory.size <= 10);
  });

  test('costs the same however many keys went through it', () => {
    const memory = new IdempotencyMemory({ ttlMs: 1_000_000_000, entriesMax: 20_000, bytesMax: 1e9 });
    fill(memory, 0, 40_000, 1);
    const startedMs = performance.now();
    fill(memory, 40_000, 140_000, 1);
    const microseconds = ((performance.now() - startedMs) * 1000) / 100_000;
    assert.ok(microseconds < 20, `${microseconds} µs a key`);
  });

  test('drops what has expired as new keys come', () => {
    const memory = new IdempotencyMemory({ ttlMs: 100, entriesMax: 1e9, bytesMax: 1e9 });
    fill(memory, 0, 1_000, 1);
    assert.ok(memory.size <= 101, String(memory.size));
    assert.equal(memory.horizonMs, 100);
  });
});
