import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCursor, encodeCursor } from './cursor.ts';

test('a cursor gives back the values that it was made of', () => {
  const values = ['acme', 12, 'ünïcode/ü'];
  assert.deepEqual(decodeCursor(encodeCursor(values), ['string', 'number', 'string']), values);
});

test('a cursor that Pulse did not write is no cursor', () => {
  const other = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  for (const text of [
    '',
    'x',
    '!!',
    other({}),
    other(null),
    other(['a']),
    other(['a', 1, 2]),
    other([1, 'a']),
  ]) {
    assert.equal(decodeCursor(text, ['string', 'number']), null, text);
  }
  assert.equal(decodeCursor(other(['a'.repeat(4000), 1]), ['string', 'number']), null);
});
