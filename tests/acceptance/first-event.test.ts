// A new user's first minutes: start, paste the curl, find the event; stop and start again.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

const run = promisify(execFile);

interface Collected {
  accepted: number;
  receipts: { event_id: string; receipt_id: string }[];
}
interface Found {
  events: { event_id: string; data: unknown }[];
}

test('the printed curl works when pasted, and its event is found within 3 s', async (t) => {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t) });
  const command = /^ {2}(curl -s \S+\/v1\/collect .*)$/m.exec(pulse.output())?.[1];
  assert.ok(command !== undefined, pulse.output());
  const sentAt = performance.now();
  const { stdout } = await run('bash', ['-c', command]);
  const answer = JSON.parse(stdout) as Collected;
  assert.equal(answer.accepted, 1);
  const eventId = answer.receipts[0]?.event_id ?? '';
  let found: Found = { events: [] };
  await waitFor(
    async () => {
      found = (await pulse.get(`/v1/events?event_id=${eventId}`)).body as Found;
      return found.events.length > 0;
    },
    { timeoutMs: 3_000, what: () => `event ${eventId}` },
  );
  const tookMs = performance.now() - sentAt;
  assert.ok(tookMs < 3_000, `took ${tookMs} ms`);
  assert.deepEqual(found.events[0]?.data, { order_id: 'A-1001', amount: 42.5, currency: 'EUR' });
  const receipt = (await pulse.get(`/v1/receipts/${answer.receipts[0]?.receipt_id}`)).body as {
    state: string;
  };
  assert.equal(receipt.state, 'stored');
});

test('a second start on the same data directory is ready within 5 s and still has the event', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  const first = await startPulse(t, { dataDirectory });
  const sent = (await first.post('/v1/collect', { event_id: 'kept-1', event_type: 'kept', data: { n: 1 } }))
    .body as Collected;
  assert.equal(sent.accepted, 1);
  assert.equal(await first.stop(), 0);
  const startedAt = performance.now();
  const second = await startPulse(t, { dataDirectory });
  assert.ok(performance.now() - startedAt < 5_000, `took ${performance.now() - startedAt} ms`);
  await waitFor(
    async () => ((await second.get('/v1/events?event_id=kept-1')).body as Found).events.length === 1,
    {
      timeoutMs: 3_000,
      what: () => 'the event of the first run',
    },
  );
  assert.equal(await second.stop(), 0);
});

test('health, readiness, metrics, OpenAPI and docs answer', async (t) => {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t) });
  assert.equal((await pulse.get('/healthz')).status, 200);
  const ready = await pulse.get('/readyz');
  assert.equal(ready.status, 200, JSON.stringify(ready.body));
  const metrics = await pulse.get('/metrics');
  assert.match(String(metrics.body), /pulse_collect_/);
  assert.match(String(metrics.body), /process="worker"/);
  const description = (await pulse.get('/openapi.json')).body as {
    openapi: string;
    paths: Record<string, unknown>;
  };
  assert.match(description.openapi, /^3\.1/);
  for (const path of [
    '/v1/collect',
    '/events',
    '/v1/events',
    '/v1/receipts/{receipt_id}',
    '/v1/dead-letters',
    '/v1/tenants',
  ]) {
    assert.ok(path in description.paths, `${path} is documented`);
  }
  assert.equal((await pulse.get('/docs/')).status, 200);
});
