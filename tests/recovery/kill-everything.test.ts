// kill -9 of the supervisor, the front, the worker and Postgres under load: nothing acknowledged is lost, nothing doubled.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort, type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

interface Receipts {
  receipts: { event_id: string }[];
}

/** Sends batches until told to stop; keeps the ids of every answer with 202. */
async function sendUntil(
  pulse: RunningPulse,
  run: string,
  acknowledged: Set<string>,
  stopped: () => boolean,
): Promise<void> {
  for (let batch = 0; !stopped(); batch++) {
    const events = Array.from({ length: 50 }, (_, i) => ({
      event_id: `${run}-${batch}-${i}`,
      event_type: i % 10 === 0 ? 'order.created' : 'page.viewed',
      data: { run, batch, i, text: 'x'.repeat(200) },
    }));
    try {
      const answer = await pulse.post('/v1/collect', events, { credential: pulse.demoKey });
      if (answer.status === 202)
        for (const { event_id } of (answer.body as Receipts).receipts) acknowledged.add(event_id);
      else await new Promise((resume) => setTimeout(resume, 50));
    } catch {
      return; // the kill broke the connection: this batch was not acknowledged, so nothing is owed for it
    }
  }
}

async function storedIds(pulse: RunningPulse): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const page = await pulse.get(
      `/v1/events?limit=1000${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
    );
    const body = page.body as { events: { event_id: string }[]; next_cursor: string | null };
    ids.push(...body.events.map((event) => event.event_id));
    cursor = body.next_cursor;
  } while (cursor !== null);
  return ids;
}

test('after three kills of everything, acknowledged events are stored exactly once', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  const port = await freePort();
  const acknowledged = new Set<string>();
  for (let round = 0; round < 3; round++) {
    const pulse = await startPulse(t, { dataDirectory, port });
    await raiseLimit(pulse);
    let stop = false;
    const senders = [0, 1, 2].map((sender) =>
      sendUntil(pulse, `r${round}s${sender}`, acknowledged, () => stop),
    );
    await new Promise((resume) => setTimeout(resume, 1_500 + round * 400));
    await pulse.kill();
    stop = true;
    await Promise.all(senders);
  }
  const pulse = await startPulse(t, { dataDirectory, port });
  await waitFor(
    async () => {
      const state = (await pulse.get('/v1/reconciliation')).body as {
        in_flight: number;
        unprocessed?: number;
        accepted: number;
      };
      return state.in_flight === 0 && (state.unprocessed ?? 0) === 0 && state.accepted >= acknowledged.size;
    },
    { timeoutMs: 30_000, what: () => 'the pipeline to catch up' },
  );
  const stored = await storedIds(pulse);
  const unique = new Set(stored);
  assert.equal(unique.size, stored.length, 'an event is stored twice');
  const lost = [...acknowledged].filter((id) => !unique.has(id));
  assert.deepEqual(lost, [], `${lost.length} of ${acknowledged.size} acknowledged events are lost`);
  assert.ok(acknowledged.size > 500, `only ${acknowledged.size} events were acknowledged`);
});

async function raiseLimit(pulse: RunningPulse): Promise<void> {
  const response = await fetch(`${pulse.url}/v1/tenants/demo`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${pulse.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ limits: { requests_per_minute: 1_000_000 } }),
  });
  assert.equal(response.status, 200, await response.text());
}
