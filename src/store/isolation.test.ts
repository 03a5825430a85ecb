import assert from 'node:assert/strict';
import { test } from 'node:test';
import { header } from '../core/envelope.ts';
import { api, headersOf } from './testing/api.ts';
import { harness, topics, until } from './testing/harness.ts';
import { bury, claim, claimThrough, countOutcomes } from './testing/process-by-hand.ts';

const canary = 'canary-of-globex';

test('no route shows a tenant anything of another one', async (t) => {
  const h = await harness(t, { partitions: 1 });
  const { get, url } = await api(t, h);
  const stream = await fetch(`${url}/v1/events/stream`, { headers: headersOf('acme') });
  const reader = stream.body?.getReader();
  let streamed = '';
  const reading = (async () => {
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
      streamed += Buffer.from(part.value).toString();
    }
  })();
  await h.log.append(
    topics.raw,
    ['globex', 'globex', 'acme'].map((tenantId) => ({
      partition: 0,
      key: null,
      headers: { [header.tenant]: tenantId, [header.id]: `${canary}-${tenantId}` },
      value: Buffer.from(canary),
    })),
  );
  const foreign = {
    tenantId: 'globex',
    eventId: `${canary}-globex`,
    eventType: canary,
    dataText: `{"x":"${canary}"}`,
  };
  await h.give([foreign, { ...foreign, dataText: '"\\u0000"' }, { eventId: 'own' }]);
  await claim(h, 'globex', `${canary}-globex`, 0);
  await bury(h, 'globex', canary, 1);
  await claimThrough(h, 2);
  await countOutcomes(h, 'globex', { accepted: 12_345, valid: 12_345 });
  await h.startStore();
  await until(async () => (await h.count('events', 'globex', 'acme')) === 2);
  await until(async () => (await h.count('store_parked', 'globex')) === 1);
  h.clock.advance(60_000);

  const theirs = (await get('/v1/events', 'globex')).body;
  assert.equal(theirs.events.length, 1);
  const paths = [
    '/v1/events',
    `/v1/events?event_id=${canary}-globex`,
    `/v1/events?event_type=${canary}`,
    `/v1/events?q=${encodeURIComponent(`$.x == "${canary}"`)}`,
    `/v1/events/${canary}-globex`,
    `/v1/events/${canary}-globex/raw`,
    '/v1/metrics?timeframe=5m',
    '/v1/stats',
    '/v1/reconciliation',
    '/v1/pipeline',
    `/v1/receipts/rcp_globex.${h.epoch}.0.0`,
    `/v1/receipts/rcp_acme.${h.epoch}.0.0`,
    `/v1/receipts/rcp_acme.${h.epoch}.0.1`,
  ];
  for (const path of paths) {
    const answer = await get(path, 'acme');
    // What the caller has sent itself may come back in an error.
    const told = answer.status >= 400 ? answer.text.replaceAll(/There is no [^"]*/g, '') : answer.text;
    assert.ok(!told.includes('canary') && !told.includes('12345'), `${path}: ${told}`);
    const named = await get(`${path}${path.includes('?') ? '&' : '?'}tenant_id=globex`, 'acme');
    assert.ok(named.status >= 400, `${path} with tenant_id: ${named.status}`);
    const nobody = await get(path, 'nobody');
    assert.equal(nobody.status, 401, path);
  }
  await until(() => streamed.includes('"own"'));
  assert.ok(!streamed.includes('canary'));
  await reader?.cancel();
  await reading;
});
