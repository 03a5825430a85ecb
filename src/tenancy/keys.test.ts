import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { equalsSecret, hashApiKey, isApiKey, newApiKey } from './keys.ts';

test('a new key is pk_ and 256 random bits, each time others', () => {
  const keys = Array.from({ length: 200 }, newApiKey);
  assert.equal(new Set(keys).size, keys.length);
  for (const key of keys) {
    assert.match(key, /^pk_[A-Za-z0-9_-]{43}$/);
    assert.equal(isApiKey(key), true);
  }
});

test('only texts in the form of a key are keys', () => {
  const key = newApiKey();
  for (const text of ['', 'pk_', key.slice(1), `${key}x`, key.slice(0, -1), key.replace('pk_', 'sk_')]) {
    assert.equal(isApiKey(text), false, text);
  }
});

test('a key is kept as its SHA-256', () => {
  const key = newApiKey();
  assert.equal(hashApiKey(key), createHash('sha256').update(key).digest('base64url'));
});

test('a secret equals itself alone, and an empty secret equals nothing', () => {
  assert.equal(equalsSecret('token', 'token'), true);
  for (const other of ['', 'toke', 'tokenx', 'Token', ' token'])
    assert.equal(equalsSecret(other, 'token'), false);
  assert.equal(equalsSecret('', ''), false);
});
