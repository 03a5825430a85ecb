// 10,000 dead letters of three kinds, repaired by one job that is cancelled and resumed once; pressed again, nothing changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { audit, describe } from '../auditor/audit.ts';
import { type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

const count = 10_000;
const batch = 2_000;

interface Job {
  job_id: string;
  state: string;
  total: number;
  progress: { waiting: number; sent: number; done: number };
  results: Record<string, number>;
  error: string | null;
}

interface Sums {
  accepted: number;
  stored: number;
  dead_letters: number;
  duplicates: number;
  in_flight: number;
  closed: boolean;
}

/** One patch that mends all three kinds. */
const patch = [
  { op: 'add', path: '/event_type', value: 'mended' },
  { op: 'add', path: '/event_time', value: '2026-03-01T10:00:00Z' },
  { op: 'add', path: '/data/text', value: 'clean' },
];

function brokenEvent(i: number): object {
  const event = {
    event_id: `broken-${i}`,
    event_type: 'order',
    event_time: '2026-03-01T10:00:00Z',
    data: { n: i, text: '' },
  };
  if (i % 3 === 0) return { ...event, event_type: 7 };
  if (i % 3 === 1) return { ...event, event_time: 'yesterday' };
  return { ...event, data: { n: i, text: 'nul \u0000' } };
}

async function reconciliation(pulse: RunningPulse): Promise<Sums> {
  return (await pulse.get('/v1/reconciliation?tenant_id=demo', pulse.adminToken)).body as Sums;
}

async function storedIds(pulse: RunningPulse): Promise<string[]> {
  const ids: string[] = [];
  let cursor = '';
  do {
    const path = `/v1/events?tenant_id=demo&limit=1000&from=2026-01-01T00:00:00Z${cursor === '' ? '' : `&cursor=${cursor}`}`;
    const { body } = await pulse.get(path, pulse.adminToken);
    const page = body as { events: { event_id: string }[]; next_cursor: string | null };
    ids.push(...page.events.map((event) => event.event_id));
    cursor = page.next_cursor ?? '';
  } while (cursor !== '');
  return ids;
}

test('10,000 dead letters of three kinds are repaired by one job, cancelled and resumed once, each stored once', async (t) => {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t) });
  const asAdmin = { credential: pulse.adminToken };
  const job = async (id: string): Promise<Job> =>
    (await pulse.get(`/v1/jobs/${id}`, pulse.adminToken)).body as Job;
  const receipts: string[] = [];
  for (let start = 0; start < count; start += batch) {
    const { status, body } = await pulse.post(
      '/v1/collect',
      Array.from({ length: batch }, (_, i) => brokenEvent(start + i)),
    );
    assert.equal(status, 202, JSON.stringify(body));
    receipts.push(...(body as { receipts: { receipt_id: string }[] }).receipts.map((one) => one.receipt_id));
  }
  let sums = await reconciliation(pulse);
  await waitFor(
    async () => {
      sums = await reconciliation(pulse);
      return sums.dead_letters === count;
    },
    {
      timeoutMs: 30_000,
      what: () => JSON.stringify(sums),
    },
  );
  const groups = (await pulse.get('/v1/dead-letters/groups?tenant_id=demo', pulse.adminToken)).body as {
    groups: unknown[];
  };
  assert.equal(groups.groups.length, 3);

  const press = async (): Promise<Job> => {
    const answer = await pulse.post(
      '/v1/dead-letters/reprocess?tenant_id=demo',
      { filter: {}, patch },
      asAdmin,
    );
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    return answer.body as Job;
  };
  // The sink may still be writing rows of the dead letters that are counted already.
  await waitFor(
    async () =>
      (
        (await pulse.get('/v1/dead-letters/groups?tenant_id=demo', pulse.adminToken)).body as {
          groups: { count: number }[];
        }
      ).groups.reduce((sum, group) => sum + group.count, 0) === count,
    { timeoutMs: 30_000, what: () => 'every dead letter in its table' },
  );
  const { job_id: id } = await press();
  let seen = await job(id);
  await waitFor(
    async () => {
      seen = await job(id);
      return seen.progress.sent + seen.progress.done > 0;
    },
    {
      timeoutMs: 20_000,
      what: () => JSON.stringify(seen),
    },
  );
  const cancelled = await pulse.post(`/v1/jobs/${id}/cancel`, '{}', asAdmin);
  assert.equal(cancelled.status, 202, JSON.stringify(cancelled.body));
  await waitFor(
    async () => {
      seen = await job(id);
      return seen.state === 'cancelled';
    },
    {
      timeoutMs: 20_000,
      what: () => JSON.stringify(seen),
    },
  );
  assert.ok(
    seen.progress.done > 0 && seen.progress.waiting > 0 && seen.progress.sent === 0,
    JSON.stringify(seen),
  );
  assert.ok((await reconciliation(pulse)).closed);

  const left = seen.progress.waiting;
  const startedAt = performance.now();
  assert.equal((await pulse.post(`/v1/jobs/${id}/resume`, '{}', asAdmin)).status, 202);
  await waitFor(
    async () => {
      seen = await job(id);
      return seen.state === 'succeeded';
    },
    {
      timeoutMs: 60_000,
      what: () => JSON.stringify(seen),
    },
  );
  const perSecond = Math.round(left / ((performance.now() - startedAt) / 1000));
  t.diagnostic(
    `${left} dead letters judged anew at ${perSecond} a second, the pause before the job begins included`,
  );
  assert.deepEqual(seen.results, { reprocessed: count });
  await waitFor(
    async () => {
      sums = await reconciliation(pulse);
      return sums.stored === count;
    },
    {
      timeoutMs: 30_000,
      what: () => JSON.stringify(sums),
    },
  );
  const closed = {
    accepted: count,
    stored: count,
    duplicates: 0,
    dead_letters: 0,
    in_flight: 0,
    closed: true,
  };
  assert.partialDeepStrictEqual(sums, closed);
  const ids = await storedIds(pulse);
  assert.equal(ids.length, count);
  assert.equal(new Set(ids).size, count);
  const receipt = (await pulse.get(`/v1/receipts/${receipts[17]}`)).body as {
    state: string;
    attempt: number;
  };
  assert.deepEqual([receipt.state, receipt.attempt], ['stored', 2]);

  const { job_id: again } = await press();
  await waitFor(
    async () => {
      seen = await job(again);
      return seen.state === 'succeeded';
    },
    {
      timeoutMs: 20_000,
      what: () => JSON.stringify(seen),
    },
  );
  assert.equal(seen.total, 0);
  assert.partialDeepStrictEqual(await reconciliation(pulse), closed);
  assert.equal((await storedIds(pulse)).length, count);
  const report = await audit({ dataDirectory: pulse.dataDirectory, acknowledged: [], isDrained: true });
  assert.deepEqual(
    report.checks.filter((check) => check.breaches.length > 0),
    [],
    describe(report),
  );
  assert.equal(await pulse.stop(), 0);
});
