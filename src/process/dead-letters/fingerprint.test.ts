// Facts about fingerprints.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Failure } from '../../core/outcome.ts';
import { fingerprintOf } from './fingerprint.ts';

const cause = { code: 'invalid_envelope', stage: 'process', eventType: 'order.placed' };

function failure(pointer: string, rule = 'type', message = ''): Failure {
  return { pointer, rule, message };
}

test('array places, order, repeats and messages do not tell dead letters apart', () => {
  const one = fingerprintOf({
    ...cause,
    failures: [failure('/data/items/3/price'), failure('/data/at', 'range', 'is 7')],
  });
  const other = fingerprintOf({
    ...cause,
    failures: [
      failure('/data/at', 'range', 'is 9'),
      failure('/data/items/12/price'),
      failure('/data/items/0/price'),
    ],
  });
  assert.equal(one, other);
  assert.match(one, /^[\w-]{22}$/);
});

test('code, stage, event type, place and rule do', () => {
  const base = { ...cause, failures: [failure('/data/a')] };
  const fingerprints = [
    base,
    { ...base, code: 'invalid_time' },
    { ...base, stage: 'store' },
    { ...base, eventType: null },
    { ...base, failures: [failure('/data/b')] },
    { ...base, failures: [failure('/data/a', 'required')] },
    { ...base, failures: [failure('/data/a1')] },
  ].map(fingerprintOf);
  assert.equal(new Set(fingerprints).size, fingerprints.length);
});
