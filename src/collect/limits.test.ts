// Limits and shedding: rate limits with their headers, requests and bytes in hand, the log's own refusals, draining.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { rawTopic, startCollect, testTenant } from '../../tests/support/collect-server.ts';
import { ManualClock } from '../core/clock.ts';
import { logError } from '../ports/event-log/event-log.ts';
import { registry } from '../telemetry/registry.ts';

const event = '{"event_type":"t"}';

test('returns 429 with Retry-After and the RateLimit headers when the tenant is over its limit', async (t) => {
  const clock = new ManualClock();
  const tenants = [testTenant('acme', { limits: { requestsPerMinute: 3 } }), testTenant('globex')];
  const server = await startCollect(t, { clock, tenants });
  for (const remaining of [2, 1, 0]) {
    const answer = await server.post('/v1/collect', event);
    assert.equal(answer.status, 202);
    assert.equal(answer.headers['ratelimit-policy'], '"default";q=3;w=60');
    assert.equal(answer.headers['ratelimit'], `"default";r=${remaining};t=60`);
  }
  const over = await server.post('/v1/collect', event);
  assert.equal(over.status, 429);
  assert.equal(over.json.code, 'PULSE_COLLECT_RATE_LIMITED');
  const retryAfter = String(over.headers['retry-after']);
  assert.match(retryAfter, /^[1-9]\d*$/);
  assert.equal(over.headers['ratelimit'], `"default";r=0;t=${retryAfter}`);
  assert.equal((await server.post('/v1/collect', event, { 'x-api-key': 'globex' })).status, 202);
  clock.advance(Number(retryAfter) * 1000);
  assert.equal((await server.post('/v1/collect', event)).status, 202);
  assert.equal(server.log.all(rawTopic).length, 5);
});

test('counts a request once, however many events it holds, and carries the headers on refusals too', async (t) => {
  const tenants = [testTenant('acme', { limits: { requestsPerMinute: 10 } })];
  const server = await startCollect(t, { tenants });
  assert.equal(
    (await server.post('/v1/collect', `[${event},${event}]`)).headers['ratelimit'],
    '"default";r=9;t=60',
  );
  assert.equal((await server.post('/v1/collect', '{broken')).headers['ratelimit'], '"default";r=8;t=60');
});

test('sheds with 503 and Retry-After beyond the requests in hand, and admits again', async (t) => {
  const server = await startCollect(t, { settings: { PULSE_COLLECT_REQUESTS_MAX: 2 } });
  const releases: (() => void)[] = [];
  server.log.beforeAppend = () => new Promise((resolve) => releases.push(resolve));
  const admitted = [server.post('/v1/collect', event), server.post('/v1/collect', event)];
  while (releases.length < 2) await sleep(1);
  const shed = await server.post('/v1/collect', event);
  assert.deepEqual([shed.status, shed.headers['retry-after']], [503, '1']);
  assert.equal(shed.json.code, 'PULSE_COLLECT_OVERLOADED');
  for (const release of releases) release();
  for (const answer of await Promise.all(admitted)) assert.equal(answer.status, 202);
  server.log.beforeAppend = null;
  assert.equal((await server.post('/v1/collect', event)).status, 202);
  assert.equal(server.log.all(rawTopic).length, 3);
});

test('sheds beyond the bytes in hand, declared or unpacked', async (t) => {
  const mebibyte = 1_048_576;
  const server = await startCollect(t, { settings: { PULSE_COLLECT_BODIES_BYTES_MAX: 2 * mebibyte } });
  const large = `[${Array.from({ length: 3 }, () => `"${'x'.repeat(900_000)}"`).join(',')}]`;
  assert.equal((await server.post('/v1/collect', large)).status, 503);
  const packed = await server.post('/v1/collect', gzipSync(large), { 'content-encoding': 'gzip' });
  assert.equal(packed.json.code, 'PULSE_COLLECT_OVERLOADED');
  assert.equal(server.collect.status().inFlightBytes, 0);
  assert.equal((await server.post('/v1/collect', event)).status, 202);
});

test('passes on that the log is overloaded or its disk is full', async (t) => {
  const server = await startCollect(t);
  for (const code of ['PULSE_LOG_OVERLOADED', 'PULSE_LOG_DISK_FULL', 'PULSE_LOG_FAILED'] as const) {
    server.log.beforeAppend = () => Promise.reject(logError(code, 'not now'));
    const answer = await server.post('/v1/collect', event);
    assert.deepEqual([answer.status, answer.json.code, answer.headers['retry-after']], [503, code, '1']);
  }
  assert.equal(server.log.all(rawTopic).length, 0);
});

test('answers only after the append is durable', async (t) => {
  const server = await startCollect(t);
  let release = (): void => {};
  server.log.beforeAppend = () => new Promise((resolve) => (release = resolve));
  let isAnswered = false;
  const answer = server.post('/v1/collect', event).then((it) => {
    isAnswered = true;
    return it;
  });
  while (server.log.appends === 0) await sleep(1);
  await sleep(20);
  assert.equal(isAnswered, false);
  release();
  assert.equal((await answer).status, 202);
});

test('drains: refuses new requests, finishes those under way', async (t) => {
  const server = await startCollect(t);
  let release = (): void => {};
  server.log.beforeAppend = () => new Promise((resolve) => (release = resolve));
  const underWay = server.post('/v1/collect', event);
  while (server.log.appends === 0) await sleep(1);
  let isDrained = false;
  const drained = server.collect.drain().then(() => {
    isDrained = true;
  });
  const late = await server.post('/v1/collect', event);
  assert.deepEqual(
    [late.status, late.json.code, late.headers.connection, late.headers['retry-after']],
    [503, 'PULSE_COLLECT_DRAINING', 'close', '1'],
  );
  assert.equal(isDrained, false);
  release();
  assert.equal((await underWay).status, 202);
  await drained;
  assert.equal(server.log.all(rawTopic).length, 1);
});

test('counts what happens in metrics', async (t) => {
  const server = await startCollect(t);
  const read = async (line: RegExp): Promise<number> => Number(line.exec(await registry.metrics())?.[1] ?? 0);
  const events = /^pulse_collect_events_total(?:\{\})? (\d+)/m;
  const refused = /^pulse_collect_refused_total\{code="PULSE_COLLECT_NOT_JSON"\} (\d+)/m;
  const observed = /^pulse_collect_append_duration_seconds_count (\d+)/m;
  const before = [await read(events), await read(refused), await read(observed)] as const;
  await server.post('/v1/collect', `[${event},${event}]`);
  await server.post('/v1/collect', '{broken');
  assert.equal(await read(events), before[0] + 2);
  assert.equal(await read(refused), before[1] + 1);
  assert.equal(await read(observed), before[2] + 1);
  const text = await registry.metrics();
  assert.match(text, /^pulse_collect_request_duration_seconds_bucket\{le="\+Inf"\} \d+$/m);
  assert.match(text, /^pulse_collect_requests_total\{status="2xx"\} [1-9]/m);
});
