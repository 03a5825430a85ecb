// `npm run faults`: real processes of Pulse die at every failpoint and by every fault of tests/recovery, and the auditor looks.
//   --long            30 rounds instead of one, each with its own seed
//   --rounds N        as many rounds
//   --seed S          the first seed; a failing run prints it
//   --only TEXT       failpoints with this text in their entry alone, for example worker/store
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const longRounds = 30;

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
  },
});
const root = resolve(import.meta.dirname, '..');
const rounds = wholeNumber('--rounds', values.rounds) ?? (values.long ? longRounds : 1);
const seed = wholeNumber('--seed', values.seed) ?? Date.now() % 1_000_000;
const files =
  values.only === undefined
    ? globSync('tests/recovery/*.test.ts', { cwd: root })
    : ['tests/recovery/failpoints.test.ts'];
console.log(`faults: ${rounds} round(s) from seed ${seed}`);
const result = spawnSync(
  process.execPath,
  // One file after the other: two Pulses side by side would only wait for each other's processor.
  ['--test', '--test-concurrency=1', '--test-reporter=spec', ...files.sort().map((file) => join(root, file))],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      NODE_NO_WARNINGS: '1',
      FAULTS_ROUNDS: String(rounds),
      FAULTS_SEED: String(seed),
      ...(values.only === undefined ? {} : { FAULTS_ONLY: values.only }),
    },
  },
);
process.exit(result.status ?? 1);

function wholeNumber(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d{1,9}$/.test(text)) {
    console.error(`faults: ${name} takes a whole number, not '${text}'`);
    process.exit(2);
  }
  return Number(text);
}
