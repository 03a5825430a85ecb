// Power losses, kills, full disks and failing syncs at random points, replayable by seed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Story, simulate } from './simulation.ts';

const seeds = Number(process.env['PULSE_TEST_SEEDS'] ?? 2_000);
const only = process.env['PULSE_TEST_SEED'];

test('keeps every acknowledged record, exactly once and in order, whatever the disk forgets', async () => {
  const first = only === undefined ? 1 : Number(only);
  const last = only === undefined ? seeds : first;
  const total = {
    acknowledged: 0,
    deaths: 0,
    diedInRecovery: 0,
    failedSyncs: 0,
    fullDisks: 0,
    removedSegments: 0,
  };
  for (let seed = first; seed <= last; seed++) {
    try {
      const story = await simulate(seed);
      for (const key of Object.keys(total) as (keyof Story)[]) total[key] += story[key];
    } catch (cause) {
      const replay = `PULSE_TEST_SEED=${seed} node --test tests/power-loss/power-loss.test.ts`;
      throw new Error(
        `seed ${seed} breaks a promise: ${(cause as Error).message}\nreplay it with: ${replay}`,
        { cause },
      );
    }
  }
  if (only !== undefined) return;
  // Seeds that never reach the dangerous places would prove nothing.
  for (const [what, count] of Object.entries(total))
    assert.ok(count > seeds / 100, `${what} happened only ${count} times`);
});
