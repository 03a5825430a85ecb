// Faults from outside, each under traffic and each followed by the auditor: killed parts, Postgres killed, frozen and cutting
// connections, a full disk, floods of duplicates across restarts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from 'pg';
import { embeddedOwnerUrl } from '../auditor/database-facts.ts';
import { isAlive, waitFor } from '../support/pulse.ts';
import { freezePostgres, killPart, partPid, postmasterPid } from './harness/processes.ts';
import { Random } from './harness/random.ts';
import { pause } from './harness/traffic.ts';
import { Trial, totals } from './harness/trial.ts';

const rounds = Number(process.env['FAULTS_ROUNDS'] ?? '1');
const firstSeed = Number(process.env['FAULTS_SEED'] ?? String(Date.now() % 1_000_000));

interface Fault {
  readonly name: string;
  /** Does its harm while traffic runs, and asserts that it was done. */
  readonly strike: (trial: Trial, random: Random) => Promise<void>;
}

const faults: readonly Fault[] = [
  { name: 'the front is killed', strike: (trial) => strikePart(trial, 'front') },
  { name: 'the worker is killed', strike: (trial) => strikePart(trial, 'worker') },
  {
    name: 'Postgres is killed',
    strike: async ({ dataDirectory }) => {
      const pid = postmasterPid(dataDirectory);
      process.kill(pid, 'SIGKILL');
      totals.kills++;
      await waitFor(() => !isAlive(pid), { timeoutMs: 5_000, what: () => 'Postgres to be gone' });
    },
  },
  {
    name: 'Postgres stands still for 5 s',
    strike: async ({ dataDirectory, traffic }) => {
      const thaw = freezePostgres(dataDirectory);
      try {
        const before = traffic.acknowledged.length;
        await pause(5_000);
        assert.ok(traffic.acknowledged.length > before, 'nothing was accepted while Postgres stood still');
      } finally {
        thaw();
      }
    },
  },
  {
    name: 'every connection to Postgres is cut again and again',
    strike: (trial) => cutConnections(trial, 20),
  },
  {
    name: 'everything is killed at once',
    strike: async (trial) => {
      await trial.killAll();
      await trial.start();
    },
  },
  {
    name: 'everything is stopped and started while the same events keep coming',
    strike: async (trial) => {
      await trial.stop();
      await trial.start();
      const before = trial.traffic.replays;
      await waitFor(() => trial.traffic.replays > before, { timeoutMs: 20_000, what: () => 'a replay' });
    },
  },
];

for (let round = 0; round < rounds; round++) {
  const seed = firstSeed + round;
  test(`faults from outside leave nothing lost or doubled (seed ${seed})`, async (t) => {
    const trial = await Trial.begin(t, seed);
    const random = new Random(seed);
    await trial.start();
    for (const { name, strike } of faults) {
      await t.test(name, async (one) => {
        trial.traffic.start(3);
        await pause(random.integer(200, 900));
        await strike(trial, random);
        const readyMs = await trial.waitUntilReady();
        await pause(200);
        const report = await trial.settle(name);
        one.diagnostic(`ready after ${Math.round(readyMs)} ms; ${report.rawRecords} records audited`);
      });
    }
    await trial.stop();
  });
}

test('a full disk refuses events with 503, loses none, and is got over by itself', async (t) => {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'pulse-full-'));
  const log = join(dataDirectory, 'log');
  t.after(() => {
    spawnSync('umount', ['-l', log]);
    rmSync(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
  });
  mkdirSync(log, { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', log], { encoding: 'utf8' });
  if (mounted.status !== 0) {
    t.skip(`a small disk needs the right to mount one: ${mounted.stderr?.trim()}`);
    return;
  }
  const trial = await Trial.begin(t, firstSeed, dataDirectory);
  await trial.start();
  trial.traffic.start(3);
  await pause(700);
  const filler = join(log, 'filler');
  fill(filler);
  await waitFor(() => trial.traffic.unavailable > 5, { timeoutMs: 30_000, what: () => 'a 503' });
  rmSync(filler);
  const acknowledged = trial.traffic.acknowledged.length;
  await waitFor(() => trial.traffic.acknowledged.length > acknowledged + 20, {
    timeoutMs: 30_000,
    what: () => 'events to be accepted again',
  });
  await trial.waitUntilReady();
  const report = await trial.settle('a full disk');
  t.diagnostic(`${trial.traffic.unavailable} requests refused; ${report.rawRecords} records audited`);
  await trial.stop();
});

async function strikePart(trial: Trial, part: 'front' | 'worker'): Promise<void> {
  const before = partPid(trial.pulse, part);
  await killPart(trial.pulse, part);
  totals.kills++;
  await waitFor(() => ![null, before].includes(partPid(trial.pulse, part)), {
    timeoutMs: 20_000,
    what: () => `another ${part}`,
  });
}

/** Ends the sessions of front and worker, in the middle of whatever they do: a COMMIT, too. */
async function cutConnections(trial: Trial, times: number): Promise<void> {
  const client = new Client({ connectionString: embeddedOwnerUrl(trial.dataDirectory) });
  await client.connect();
  let cut = 0;
  try {
    for (let i = 0; i < times; i++) {
      const { rowCount } = await client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('pulse-front', 'pulse-worker')",
      );
      cut += rowCount ?? 0;
      await pause(100);
    }
  } finally {
    await client.end();
  }
  assert.ok(cut > 0, 'no connection was cut');
}

/** Takes all the room that is left. */
function fill(path: string): void {
  const chunk = Buffer.alloc(65_536, 1);
  try {
    for (;;) writeFileSync(path, chunk, { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
