// Bad input over HTTP to every route: hostile requests by seed, and hostile connections by hand. Nothing may answer with a
// 5xx, hang, or bring a process down. PULSE_TEST_SEED and PULSE_TEST_REQUESTS repeat a run or make it longer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../support/pulse.ts';
import { fuzz, servedOperations } from './fuzz.ts';
import { hostileConnections } from './hostile-connections.ts';
import { ask } from './http.ts';
import { makeWorld } from './world.ts';

const seed = Number(process.env['PULSE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const count = Number(process.env['PULSE_TEST_REQUESTS'] ?? 3_000);

test('no bad input brings Pulse out of its stride', async (t) => {
  const world = await makeWorld(t, {
    PULSE_STORE_QUERY_TIMEOUT_MS: '1000',
    PULSE_STORE_STREAM_CLIENTS: '1000',
  });
  const { pulse, credentials } = world;
  // Something for regular expressions and wildcards to choke on.
  let deep: unknown = 1;
  for (let level = 0; level < 40; level++) deep = level < 6 ? [deep, deep] : [deep];
  const events = Array.from({ length: 400 }, (_, n) => ({
    event_type: 'long',
    data: { s: 'a'.repeat(40 + n), x: deep },
  }));
  assert.equal(
    (await pulse.post('/v1/collect', events, { credential: credentials.owner['x-api-key'] as string }))
      .status,
    202,
  );

  await t.test(`${count} hostile requests, seed ${seed}`, async (t) => {
    const report = await fuzz(world, { seed, count });
    const statuses = [...report.statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, answers]) => `${status}: ${answers}`);
    t.diagnostic(
      `${report.sent} sent, slowest ${Math.round(report.slowestMs)} ms, answers ${statuses.join(', ')}`,
    );
    assert.deepEqual(report.faults, [], `PULSE_TEST_SEED=${seed}`);
    assert.ok(report.sent >= count);
    assert.ok((await servedOperations(pulse.url)).length >= 28);
  });
  for (const [name, attack] of Object.entries(hostileConnections)) {
    await t.test(name, () => attack(world));
  }
  await t.test('afterwards every process is the one that started, ready, and works', async () => {
    await waitFor(async () => (await ask(pulse.url, { method: 'GET', path: '/readyz' })).status === 200, {
      timeoutMs: 10_000,
      what: () => 'Pulse to be ready',
    });
    assert.doesNotMatch(
      pulse.output(),
      /ended unexpectedly|unexpected error|collect failed|uncaught|unhandled/i,
    );
    const credential = credentials.foreign['x-api-key'] as string;
    const sent = await pulse.post('/v1/collect', { event_type: 'after', data: {} }, { credential });
    const id = (sent.body as { receipts: { receipt_id: string }[] }).receipts[0]?.receipt_id;
    await waitFor(
      async () =>
        ((await pulse.get(`/v1/receipts/${id}`, credential)).body as { state: string }).state === 'stored',
      {
        timeoutMs: 10_000,
        what: () => 'an event to be stored',
      },
    );
    assert.equal(await pulse.stop(), 0);
  });
});
