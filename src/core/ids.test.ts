import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv5, uuidv7 } from './ids.ts';

const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-([57])[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('a UUIDv7 has the version, the variant and the time', () => {
  const nowMs = Date.UTC(2026, 10, 21, 12, 34, 56, 789);
  const id = uuidv7(nowMs);
  assert.equal(shape.exec(id)?.[1], '7');
  assert.equal(Number.parseInt(id.replace('-', '').slice(0, 12), 16), nowMs);
});

test('UUIDv7s differ and sort by time', () => {
  const ids = Array.from({ length: 5000 }, (_, i) => uuidv7(1_700_000_000_000 + i));
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(Array.from({ length: 5000 }, () => uuidv7(1))).size, 5000);
});

test('a UUIDv5 repeats for the same parts and tells parts apart', () => {
  assert.equal(uuidv5('demo', 'key', '0'), uuidv5('demo', 'key', '0'));
  assert.equal(shape.exec(uuidv5('demo'))?.[1], '5');
  assert.notEqual(uuidv5('a', 'bc'), uuidv5('ab', 'c'));
  assert.notEqual(uuidv5('a', ''), uuidv5('a'));
});
