// Facts about failpoints: silent unless armed, one after the other, each once, remembered across processes.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { armFailpoints, failpoint, failpointsPattern } from './failpoint.ts';

describe('failpoints', () => {
  test('do nothing unless their part is armed', (t) => {
    const directory = temporary(t);
    failpoint('process.polled');
    armFailpoints('front', 'worker/process.polled:1:throw', directory);
    failpoint('process.polled');
  });

  test('fire at the wanted hit, one after the other, and leave their entry behind', (t) => {
    const directory = temporary(t);
    armFailpoints(
      'worker',
      'worker/process.polled:2:throw,front/collect.appended:1:kill,worker/process.claimed:1:throw',
      directory,
    );
    failpoint('process.claimed');
    failpoint('process.polled');
    assert.throws(() => failpoint('process.polled'), /failpoint process\.polled/);
    failpoint('process.polled');
    assert.throws(() => failpoint('process.claimed'), /failpoint process\.claimed/);
    failpoint('process.claimed');
    assert.equal(
      readFileSync(join(directory, 'failpoints-fired'), 'utf8'),
      'worker/process.polled:2:throw\nworker/process.claimed:1:throw\n',
    );
  });

  test('go on behind those that fired in an earlier process', (t) => {
    const directory = temporary(t);
    const setting = 'worker/process.polled:1:throw,worker/process.claimed:1:throw';
    armFailpoints('worker', setting, directory);
    assert.throws(() => failpoint('process.polled'));
    armFailpoints('worker', setting, directory);
    failpoint('process.polled');
    assert.throws(() => failpoint('process.claimed'));
  });

  test('are named in a closed list', () => {
    assert.match('', failpointsPattern);
    assert.match('front/collect.appended:3:kill,worker/store.inserted:1:throw', failpointsPattern);
    for (const wrong of [
      'front/collect.nowhere:1:kill',
      'front/collect.appended:0:kill',
      'collect.appended:1:kill',
      'front/collect.appended:1:kill,',
    ]) {
      assert.doesNotMatch(wrong, failpointsPattern);
    }
  });
});

function temporary(t: { after(work: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'pulse-failpoint-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
