// Facts about what may travel on as a traceparent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTraceparent } from './build-records.ts';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const span = '00f067aa0ba902b7';

test('takes a traceparent of version 0, and of a later version with more fields', () => {
  assert.ok(isTraceparent(`00-${trace}-${span}-01`));
  assert.ok(isTraceparent(`cc-${trace}-${span}-00-what-the-future-brings`));
});

test('refuses zero ids, capital letters, version ff, other lengths and other separators', () => {
  const bad = [
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `ff-${trace}-${span}-01`,
    `00-${trace}-${span}-01-more`,
    `cc-${trace}-${span}-01more`,
    `00-${trace}-${span}`,
    `00_${trace}_${span}_01`,
    '',
  ];
  for (const text of bad) assert.equal(isTraceparent(text), false, text);
});
