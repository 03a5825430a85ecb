// Facts about client addresses: which one counts, and what of it is kept.
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { clientAddress, keptAddress } from './client-address.ts';
import { parseAddressList } from './config.ts';

function request(socketAddress: string | undefined, forwarded?: string): IncomingMessage {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
  return { socket: { remoteAddress: socketAddress }, headers } as unknown as IncomingMessage;
}

test('takes the address of the socket unless a trusted proxy speaks for another', () => {
  const proxies = parseAddressList('10.0.0.0/8, ::1, 2001:db8::/32');
  assert.equal(clientAddress(request('192.0.2.1', '8.8.8.8'), proxies), '192.0.2.1');
  assert.equal(clientAddress(request('10.0.0.1', '8.8.8.8'), null), '10.0.0.1');
  assert.equal(clientAddress(request('10.0.0.1', '8.8.8.8'), proxies), '8.8.8.8');
  assert.equal(clientAddress(request('::ffff:10.0.0.1', '6.6.6.6, 8.8.8.8, 10.9.9.9'), proxies), '8.8.8.8');
  assert.equal(clientAddress(request('::1', '10.0.0.2'), proxies), '10.0.0.2');
  assert.equal(clientAddress(request('::1', '8.8.8.8, unknown'), proxies), '::1');
  assert.equal(clientAddress(request('::1', ''), proxies), '::1');
  assert.equal(clientAddress(request(undefined), proxies), null);
  assert.equal(clientAddress(request('::ffff:192.0.2.1'), null), '192.0.2.1');
});

test('keeps of an address what the policy says', () => {
  assert.equal(keptAddress('192.0.2.77', 'keep'), '192.0.2.77');
  assert.equal(keptAddress('192.0.2.77', 'drop'), null);
  assert.equal(keptAddress(null, 'keep'), null);
  assert.equal(keptAddress('192.0.2.77', 'truncate'), '192.0.2.0');
  assert.equal(keptAddress('2001:db8:abcd:12::7', 'truncate'), '2001:db8:abcd::');
  assert.equal(keptAddress('2001:db8::7', 'truncate'), '2001:db8:0::');
  assert.equal(keptAddress('::1', 'truncate'), '0:0:0::');
  assert.equal(keptAddress('fe80::1%eth0', 'truncate'), 'fe80:0:0::');
});

test('refuses lists of proxies that hold anything but addresses and networks', () => {
  for (const bad of ['10.0.0.0/33', 'example.com', '10.0.0.0/8/9', '::1/129', '10.0.0.0/x']) {
    assert.throws(() => parseAddressList(bad), /neither an address nor a network/, bad);
  }
  assert.doesNotThrow(() => parseAddressList(' , 10.0.0.1 ,'));
});
