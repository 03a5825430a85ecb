// Facts about truncated client addresses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { truncateAddress } from './client-address.ts';

test('keeps the network and zeroes the host', () => {
  const cases: readonly (readonly [string, string | null])[] = [
    ['203.0.113.77', '203.0.113.0'],
    ['::ffff:203.0.113.77', '203.0.113.0'],
    ['2001:db8:85a3:8d3:1319:8a2e:370:7348', '2001:db8:85a3::'],
    ['2001:DB8::1', '2001:db8::'],
    ['fe80::1%eth0', 'fe80::'],
    ['::1', '::'],
    ['::', '::'],
    ['2001:0:0:1::', '2001::'],
    ['not an address', null],
    ['', null],
  ];
  for (const [address, expected] of cases) {
    assert.equal(truncateAddress(address), expected, address);
    if (expected !== null) assert.equal(truncateAddress(expected), expected);
  }
});
