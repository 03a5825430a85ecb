// `npm run fuzz`: hostile requests to a Pulse that it starts, from two sources: the generator of tests/security, and
// schemathesis, which reads the OpenAPI. Settings: --requests=20000 --seed=<n> --seconds=120 (of schemathesis; 0 leaves it out).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseArgs, promisify } from 'node:util';
import { fuzz } from '../tests/security/fuzz.ts';
import { ask } from '../tests/security/http.ts';
import { makeWorld, type World } from '../tests/security/world.ts';

const run = promisify(execFile);
const schemathesisVersion = '4.32.5';

const { values: options } = parseArgs({
  options: {
    requests: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    seconds: { type: 'string', default: '120' },
  },
});
const seed = Number(options.seed);
const seconds = Number(options.seconds);

/** The command of schemathesis; installed into its own folder among the temporary files at the first use. */
async function schemathesis(): Promise<string> {
  const folder = join(tmpdir(), `pulse-schemathesis-${schemathesisVersion}`);
  const command = join(folder, 'bin', 'schemathesis');
  if (existsSync(command)) return command;
  console.log(`installing schemathesis ${schemathesisVersion} from PyPI`);
  await run('python3', ['-m', 'venv', folder]);
  await run(join(folder, 'bin', 'pip'), ['install', '--quiet', `schemathesis==${schemathesisVersion}`]);
  return command;
}

/** Lets schemathesis call every route as one caller; its report when it found a fault, else null. */
async function runSchemathesis(world: World, caller: 'owner' | 'platform'): Promise<string | null> {
  const headers = Object.entries(world.credentials[caller]).flatMap(([name, value]) => [
    '--header',
    `${name}: ${value}`,
  ]);
  const arguments_ = [
    'run',
    `${world.pulse.url}/openapi.json`,
    ...headers,
    ...[
      '--checks',
      'not_a_server_error',
      '--max-time',
      String(Math.ceil(seconds / 2)),
      '--seed',
      String(seed % 2 ** 32),
    ],
    // A stream never ends by itself.
    ...[
      '--exclude-path',
      '/v1/events/stream',
      '--request-timeout',
      '15',
      '--workers',
      '2',
      '--max-examples',
      '400',
    ],
    ...['--continue-on-failure', '--warnings', 'off', '--no-color', '--generation-database', ':memory:'],
  ];
  try {
    const { stdout } = await run(await schemathesis(), arguments_, {
      cwd: tmpdir(),
      timeout: (seconds + 60) * 1000,
      maxBuffer: 2 ** 26,
    });
    console.log(stdout.split('\n').slice(-25).join('\n'));
    return null;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    return `${stdout}\n${stderr}\n${(error as Error).message.slice(0, 300)}`;
  }
}

test('the whole HTTP surface under bad input', async (t) => {
  const world = await makeWorld(t, { PULSE_STORE_QUERY_TIMEOUT_MS: '1000' });
  await t.test(`${options.requests} hostile requests, seed ${seed}`, async () => {
    const report = await fuzz(world, { seed, count: Number(options.requests) });
    const statuses = [...report.statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, count]) => `${status}: ${count}`);
    console.log(
      `${report.sent} sent, slowest ${Math.round(report.slowestMs)} ms, answers ${statuses.join(', ')}`,
    );
    assert.deepEqual(report.faults, []);
  });
  for (const caller of ['owner', 'platform'] as const) {
    if (seconds === 0) continue;
    await t.test(`schemathesis as ${caller}, ${seconds / 2} s`, async () => {
      const report = await runSchemathesis(world, caller);
      assert.equal(report, null, report ?? '');
    });
  }
  await t.test('Pulse is ready afterwards, and none of its processes had to be started again', async () => {
    assert.equal((await ask(world.pulse.url, { method: 'GET', path: '/readyz' })).status, 200);
    assert.doesNotMatch(world.pulse.output(), /unexpected error|collect failed|uncaught|unhandled/i);
    assert.equal(await world.pulse.stop(), 0);
  });
});
