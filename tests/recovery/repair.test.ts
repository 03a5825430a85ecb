// kill -9 of the front at each step of a repair, and of the worker while it judges the attempts: one effect each, nothing left over.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { audit, describe } from '../auditor/audit.ts';
import { freePort, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

const count = 700;
const kills = [
  'front/repair.before_send:1:kill',
  'front/repair.sent:1:kill',
  'front/repair.appended:1:kill',
  'front/repair.settled:1:kill',
  'worker/process.claim_written:1:kill',
  'worker/process.claimed:1:kill',
  'worker/process.valid_appended:1:kill',
];

interface Job {
  job_id: string;
  state: string;
  results: Record<string, number>;
}

test('a repair that is killed at each of its steps repairs each dead letter once', async (t) => {
  const dataDirectory = await temporaryDirectory(t);
  const port = await freePort();
  const bury = await startPulse(t, { dataDirectory, port });
  const events = Array.from({ length: count }, (_, i) => ({
    event_id: `broken-${i}`,
    event_type: 7,
    data: { i },
  }));
  assert.equal((await bury.post('/v1/collect', events)).status, 202);
  const rows = async () => {
    const { body } = await bury.get('/v1/dead-letters/groups?tenant_id=demo', bury.adminToken);
    return (body as { groups: { count: number }[] }).groups[0]?.count ?? 0;
  };
  await waitFor(async () => (await rows()) === count, { timeoutMs: 20_000, what: () => 'the dead letters' });
  await bury.stop();

  const pulse = await startPulse(t, {
    dataDirectory,
    port,
    environment: { PULSE_TEST_FAILPOINT: kills.join(',') },
  });
  const patch = [{ op: 'replace', path: '/event_type', value: 'mended' }];
  const asked = await pulse.post(
    '/v1/dead-letters/reprocess?tenant_id=demo',
    { filter: {}, patch },
    { credential: pulse.adminToken },
  );
  const { job_id: id } = asked.body as Job;
  let seen: Job | null = null;
  const succeeded = async (): Promise<boolean> => {
    try {
      seen = (await pulse.get(`/v1/jobs/${id}`, pulse.adminToken)).body as Job;
    } catch {
      return false; // The front is down just now.
    }
    return seen.state === 'succeeded';
  };
  await waitFor(succeeded, { timeoutMs: 120_000, what: () => JSON.stringify(seen) });
  assert.deepEqual((seen as Job | null)?.results, { reprocessed: count });
  let sums: object = {};
  const isStored = async (): Promise<boolean> => {
    sums = (await pulse.get('/v1/reconciliation?tenant_id=demo', pulse.adminToken)).body as object;
    return (sums as { stored: number }).stored === count;
  };
  await waitFor(isStored, { timeoutMs: 30_000, what: () => JSON.stringify(sums) });
  assert.partialDeepStrictEqual(sums, {
    accepted: count,
    stored: count,
    dead_letters: 0,
    duplicates: 0,
    in_flight: 0,
    closed: true,
  });
  const fired = readFileSync(join(dataDirectory, 'failpoints-fired'), 'utf8').trim().split('\n');
  assert.deepEqual(fired.sort(), kills.toSorted());
  const report = await audit({ dataDirectory, acknowledged: [], isDrained: true });
  assert.ok(report.holds, describe(report));
  assert.equal(report.rawRecords, 2 * count, 'each attempt is in the log once');
});
