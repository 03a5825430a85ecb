import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PulseError } from '../core/errors.ts';
import { type Applied, judge, type Link } from './gap.ts';

const at = (offset: number, epoch = 1) => ({ epoch, partition: 0, offset });

function applied(sourceOffset: number, logOffset: number): Applied {
  return { offsets: new Map([[1, { sourceOffset, logOffset }]]), logOffset };
}

function verdict(link: Link, state: Applied): string {
  const result = judge(link, state);
  return result instanceof PulseError ? result.code : result;
}

describe('the gap rule', () => {
  test('applies a record whose predecessor is stored', () => {
    assert.equal(verdict({ offset: 3, source: at(9), previous: at(5) }, applied(5, 3)), 'apply');
    assert.equal(verdict({ offset: 3, source: at(9), previous: at(4) }, applied(5, 3)), 'apply');
  });

  test('skips what is stored already, whatever it follows', () => {
    assert.equal(verdict({ offset: 7, source: at(5), previous: at(4) }, applied(5, 3)), 'repeat');
    assert.equal(verdict({ offset: 7, source: at(2), previous: null }, applied(5, 3)), 'repeat');
  });

  test('stops at a record whose predecessor is missing', () => {
    assert.equal(verdict({ offset: 3, source: at(9), previous: at(6) }, applied(5, 3)), 'PULSE_STORE_GAP');
    assert.equal(verdict({ offset: 0, source: at(9), previous: at(6) }, applied(-1, 0)), 'PULSE_STORE_GAP');
  });

  test('takes a record without a predecessor only at the beginning or directly behind the last one', () => {
    assert.equal(verdict({ offset: 0, source: at(4), previous: null }, applied(-1, 0)), 'apply');
    assert.equal(verdict({ offset: 3, source: at(9), previous: null }, applied(5, 3)), 'apply');
    assert.equal(verdict({ offset: 4, source: at(9), previous: null }, applied(5, 3)), 'PULSE_STORE_GAP');
  });

  test('stops at an epoch that the raw topic never had', () => {
    assert.equal(
      verdict({ offset: 3, source: at(0, 2), previous: at(5) }, applied(5, 3)),
      'PULSE_STORE_EPOCH_UNKNOWN',
    );
    assert.equal(
      verdict({ offset: 3, source: at(9), previous: at(0, 2) }, applied(5, 3)),
      'PULSE_STORE_EPOCH_UNKNOWN',
    );
  });

  test('follows a raw topic into its next epoch', () => {
    const state: Applied = {
      offsets: new Map([
        [1, { sourceOffset: 5, logOffset: 3 }],
        [2, { sourceOffset: -1, logOffset: 0 }],
      ]),
      logOffset: 3,
    };
    assert.equal(verdict({ offset: 3, source: at(0, 2), previous: at(5) }, state), 'apply');
    assert.equal(verdict({ offset: 3, source: at(0, 2), previous: at(6) }, state), 'PULSE_STORE_GAP');
  });

  test('stops when new records lie where old ones were stored: the log was replaced', () => {
    assert.equal(
      verdict({ offset: 1, source: at(9), previous: at(5) }, applied(5, 3)),
      'PULSE_STORE_LOG_REPLACED',
    );
  });
});
