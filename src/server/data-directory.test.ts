import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../core/errors.ts';
import {
  holdAsPart,
  keptSecret,
  openDataDirectory,
  readSecret,
  waitForEarlierParts,
} from './data-directory.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'pulse-data-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('one holder at a time, and the next after release', (t) => {
  const path = folder(t);
  const first = openDataDirectory(path);
  assert.throws(
    () => openDataDirectory(path),
    (error) => hasCode(error, 'PULSE_SERVER_DATA_DIRECTORY_IN_USE') && error.message.includes(path),
  );
  first.release();
  const second = openDataDirectory(path);
  assert.equal(second.isNew, false);
  second.release();
});

test('a holder that is killed leaves no stale hold', async (t) => {
  const path = folder(t);
  const module = join(import.meta.dirname, 'data-directory.ts');
  const script = join(path, 'holder.ts');
  writeFileSync(
    script,
    `const { openDataDirectory } = await import(${JSON.stringify(module)}); openDataDirectory(${JSON.stringify(join(path, 'd'))}); process.send?.('held'); setInterval(() => {}, 1000);`,
  );
  const holder = fork(script, { execArgv: ['--disable-warning=ExperimentalWarning'] });
  await new Promise((resolve) => holder.once('message', resolve));
  assert.throws(
    () => openDataDirectory(join(path, 'd')),
    (error) => hasCode(error, 'PULSE_SERVER_DATA_DIRECTORY_IN_USE'),
  );
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  openDataDirectory(join(path, 'd')).release();
});

test('a secret is made once, kept 0600 and read again', (t) => {
  const directory = openDataDirectory(folder(t));
  t.after(() => directory.release());
  assert.equal(readSecret(directory, 'admin-token'), null);
  const secret = keptSecret(directory, 'admin-token', 'pat_');
  assert.match(secret, /^pat_[\w-]{43}$/);
  assert.equal(keptSecret(directory, 'admin-token', 'pat_'), secret);
  assert.equal(statSync(join(directory.path, 'admin-token')).mode & 0o777, 0o600);
});

test('a directory of another format is refused and left as it is', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'pulse.json'), 'not json');
  assert.throws(
    () => openDataDirectory(path),
    (error) => hasCode(error, 'PULSE_SERVER_DATA_DIRECTORY_VERSION'),
  );
  assert.equal(readFileSync(join(path, 'pulse.json'), 'utf8'), 'not json');
});

test('a new run waits for the parts of the last one, within a bound', async (t) => {
  const directory = openDataDirectory(folder(t));
  t.after(() => directory.release());
  const letGo = [holdAsPart(directory.path), holdAsPart(directory.path)];
  await assert.rejects(waitForEarlierParts(directory, 100), (error) =>
    hasCode(error, 'PULSE_SERVER_DATA_DIRECTORY_IN_USE'),
  );
  const waiting = waitForEarlierParts(directory, 5_000);
  for (const release of letGo) release();
  await waiting;
});
