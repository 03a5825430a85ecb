import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPosition, formatReceiptId, parsePosition, parseReceiptId } from './position.ts';

test('a position survives its text', () => {
  const position = { epoch: 3, partition: 5, offset: 9_007_199_254_740_991 };
  assert.deepEqual(parsePosition(formatPosition(position)), position);
});

test('a receipt survives its text', () => {
  const receipt = { tenantId: 'a_b-9', epoch: 1, partition: 0, offset: 0 };
  assert.equal(formatReceiptId(receipt), 'rcp_a_b-9.1.0.0');
  assert.deepEqual(parseReceiptId(formatReceiptId(receipt)), receipt);
});

test('anything else is refused', () => {
  for (const text of [
    '',
    '1.2',
    '0.1.1',
    '2147483648.1.1',
    '1.1.9999999999999999',
    '1.1.-1',
    '1.1.1 ',
    'a.1.1',
  ])
    assert.equal(parsePosition(text), null, text);
  for (const text of ['rcp_', 'rcp_Demo.1.1.1', 'demo.1.1.1', `rcp_${'a'.repeat(64)}.1.1.1`])
    assert.equal(parseReceiptId(text), null, text);
});
