// Every failpoint, in every process that passes it: traffic runs, the process dies there, it is started again, and the auditor
// finds nothing lost, doubled or miscounted. `npm run faults -- --long` repeats it; a failure prints how to replay it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FailpointName, failpointNames } from '../../src/core/failpoint.ts';
import { temporaryDirectory } from '../support/pulse.ts';
import { Random } from './harness/random.ts';
import { pause } from './harness/traffic.ts';
import { Trial, totals } from './harness/trial.ts';

const rounds = Number(process.env['FAULTS_ROUNDS'] ?? '1');
const firstSeed = Number(process.env['FAULTS_SEED'] ?? String(Date.now() % 1_000_000));
const only = process.env['FAULTS_ONLY'];

/** Places that are passed only while a process starts: once is all they are met. */
const atStart: readonly FailpointName[] = [
  'collect.keys_rebuilt',
  'log.tail_recovered',
  'process.opened',
  'store.before_partition',
];

/** The processes of which each place is a part. */
const passes: Readonly<Record<'front' | 'worker', (name: FailpointName) => boolean>> = {
  front: (name) =>
    name.startsWith('collect.') || (name.startsWith('log.') && !name.startsWith('log.offsets')),
  worker: (name) => /^(log|process|dead_letters|store|database)\./.test(name),
};
const supervisor = failpointNames.filter((name) => /^(migrate|supervisor)\./.test(name));
/** Passed only while a repair job runs; repair.test.ts kills there. */
const repairs = failpointNames.filter((name) => name.startsWith('repair.'));

/** Steps that can fail in life: a refused statement, a failed write, a lost connection. */
const mayThrow =
  /^(process\.(?!opened)|dead_letters\.|store\.(before_insert|inserted)|database\.before_commit|log\.(group_written|offsets_written))/;

/** More kills in one run of Pulse would mostly wait for its growing pauses between restarts. */
const killsPerPart = 4;

test('every failpoint belongs to a process', () => {
  const covered = failpointNames.filter((name) => passes.front(name) || passes.worker(name));
  assert.deepEqual([...covered, ...supervisor, ...repairs].sort(), [...failpointNames].sort());
});

for (let round = 0; round < rounds; round++) {
  const seed = firstSeed + round;
  test(`nothing is lost or doubled, wherever the front or the worker dies (seed ${seed})`, async (t) => {
    const trial = await Trial.begin(t, seed);
    for (const failpoints of plan(seed)) {
      await replayable(seed, failpoints, async () => {
        await trial.start(failpoints);
        trial.traffic.start(3);
        await trial.waitUntilFired(failpoints, 60_000);
        await trial.auditLive();
        await trial.waitUntilReady();
        await trial.settle(failpoints.join());
        await trial.stop();
      });
    }
    t.diagnostic(
      `${totals.kills} kills, ${totals.audits} audits, ${totals.acknowledged} acknowledged of ${totals.records} records`,
    );
  });

  test(`an error in any step of the worker is got over without a restart (seed ${seed})`, async (t) => {
    const trial = await Trial.begin(t, seed);
    const random = new Random(seed);
    const names = shuffle(
      failpointNames.filter((name) => mayThrow.test(name)),
      random,
    );
    const failpoints = names
      .map((name) => `worker/${name}:${random.integer(1, 4)}:throw`)
      .filter((one) => only === undefined || one.includes(only));
    await replayable(seed, failpoints, async () => {
      await trial.start(failpoints);
      trial.traffic.start(3);
      await trial.waitUntilFired(failpoints, 60_000);
      await trial.settle(failpoints.join());
      await trial.stop();
    });
  });

  test(`a start that dies half way is done again by the next one (seed ${seed})`, async (t) => {
    const dataDirectory = await temporaryDirectory(t);
    const random = new Random(seed);
    const trial = await Trial.begin(t, seed, dataDirectory);
    for (const name of supervisor) {
      const entry = `supervisor/${name}:${name === 'migrate.applied' ? random.integer(1, 4) : 1}:kill`;
      if (only !== undefined && !entry.includes(only)) continue;
      await replayable(seed, [entry], async () => {
        await assert.rejects(trial.start([entry]), /ended while waiting/);
        assert.deepEqual(trial.fired(), [entry]);
        totals.kills++;
      });
    }
    await trial.start();
    trial.traffic.start(2);
    await pause(500);
    await trial.settle('starts that died');
    await trial.stop();
  });
}

/** Runs of Pulse with the failpoints that are armed in each; the seed says in which order and at which hit. */
function plan(seed: number): string[][] {
  const random = new Random(seed);
  const queues = (['front', 'worker'] as const).map((part) => {
    const names = shuffle(failpointNames.filter(passes[part]), random);
    const wanted = names.map((name) => entry(part, name, random));
    const chosen = only === undefined ? wanted : wanted.filter((one) => one.includes(only));
    // A part that dies before it was ever ready ends Pulse, so no run begins with such a place.
    return [...chosen.filter((one) => !isAtStart(one)), ...chosen.filter(isAtStart)];
  });
  const runs: string[][] = Array.from(
    { length: Math.max(...queues.map((queue) => Math.ceil(queue.length / killsPerPart))) },
    () => [],
  );
  for (const queue of queues) for (const [i, one] of queue.entries()) runs[i % runs.length]?.push(one);
  return runs;
}

function isAtStart(one: string): boolean {
  return atStart.some((name) => one.includes(`/${name}:`));
}

function entry(part: string, name: FailpointName, random: Random): string {
  const hit = atStart.includes(name) || /segment/.test(name) ? 1 : random.integer(1, 8);
  return `${part}/${name}:${hit}:kill`;
}

function shuffle<Item>(items: readonly Item[], random: Random): Item[] {
  const rest = [...items];
  const shuffled: Item[] = [];
  while (rest.length > 0) shuffled.push(...rest.splice(random.integer(0, rest.length - 1), 1));
  return shuffled;
}

async function replayable(
  seed: number,
  failpoints: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const names = failpoints.map((one) => one.split(':')[0]).join(' ');
    console.error(`\nReplay with: npm run faults -- --seed ${seed}\nArmed were: ${names}\n`);
    throw error;
  }
}
