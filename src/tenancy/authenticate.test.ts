import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode, PulseError } from '../core/errors.ts';
import { authenticate } from './authenticate.ts';
import { DirectoryState } from './directory-state.ts';
import { tenancyError } from './errors.ts';
import { hashApiKey, newApiKey } from './keys.ts';
import type { Directory, Scope } from './types.ts';

const key = newApiKey();
const otherKey = newApiKey();
const adminToken = 'an-admin-token';
const directory = directoryOf([key, otherKey]);
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

/** A directory of one tenant with the given keys. */
function directoryOf(keys: readonly string[]): Pick<Directory, 'principal'> {
  const state = new DirectoryState({ raw: 'events.raw', valid: 'events.valid', dlq: 'events.dlq' });
  const tenant = {
    tenant_id: 'acme',
    name: 'Acme',
    topics: 'shared',
    status: 'active',
    requests_per_minute: 300,
    client_address_policy: 'keep',
    lookups: [],
  } as const;
  state.apply([
    { kind: 'tenant', entry: tenant },
    ...keys.map((apiKey, i) => ({
      kind: 'key' as const,
      entry: {
        tenant_id: 'acme',
        key_id: `key_${i}`,
        key_hash: Buffer.from(hashApiKey(apiKey), 'base64url').toString('hex'),
        scopes: ['ingest'] as Scope[],
        expires_at_ms: null,
        revoked: false,
      },
    })),
  ]);
  return { principal: (credential) => state.principal(credential, { now: () => 0 }) };
}

function refusalOf(headers: Record<string, string>, token = adminToken): PulseError {
  try {
    authenticate(headers, directory, token);
  } catch (error) {
    assert.ok(error instanceof PulseError);
    return error;
  }
  assert.fail('the credential was accepted');
}

describe('authenticate', () => {
  test('takes an API key from X-API-Key, Bearer, and either half of Basic', () => {
    const ways: Record<string, string>[] = [
      { 'x-api-key': key },
      { authorization: `Bearer ${key}` },
      { authorization: `bearer  ${key} ` },
      { authorization: basic(key, '') },
      { authorization: basic('', key) },
      { authorization: basic('anyone', key) },
      { authorization: basic(key, 'x') },
      { authorization: basic(key, key) },
      { 'x-api-key': key, authorization: `Bearer ${key}` },
    ];
    for (const headers of ways) {
      const principal = authenticate(headers, directory, adminToken);
      assert.deepEqual(
        principal,
        { kind: 'key', keyId: 'key_0', tenantId: 'acme', scopes: ['ingest'] },
        JSON.stringify(headers),
      );
    }
  });

  test('takes the admin token the same ways', () => {
    const ways: Record<string, string>[] = [
      { 'x-api-key': adminToken },
      { authorization: `Bearer ${adminToken}` },
      { authorization: basic(adminToken, '') },
      { authorization: basic('admin', adminToken) },
    ];
    for (const headers of ways) {
      assert.deepEqual(authenticate(headers, directory, adminToken), { kind: 'admin' });
    }
    const tokenLikeAKey = newApiKey();
    assert.deepEqual(authenticate({ 'x-api-key': tokenLikeAKey }, directory, tokenLikeAKey), {
      kind: 'admin',
    });
  });

  test('says that a credential is missing', () => {
    const error = refusalOf({});
    assert.equal(error.code, 'PULSE_TENANCY_CREDENTIAL_MISSING');
    assert.equal(error.status, 401);
    assert.match(error.next, /X-API-Key/);
  });

  test('refuses conflicting credentials and says so', () => {
    const conflicts: Record<string, string>[] = [
      { 'x-api-key': key, authorization: `Bearer ${otherKey}` },
      { 'x-api-key': key, authorization: `Bearer ${adminToken}` },
      { 'x-api-key': `${key}, ${otherKey}` },
      { authorization: basic(key, otherKey) },
    ];
    for (const headers of conflicts) {
      const error = refusalOf(headers);
      assert.equal(error.code, 'PULSE_TENANCY_CREDENTIAL_INVALID');
      assert.equal(error.details?.['reason'], 'conflicting');
    }
  });

  test('refuses malformed headers and unknown credentials, and never repeats them', () => {
    const refused: [Record<string, string>, string][] = [
      [{ 'x-api-key': '' }, 'malformed'],
      [{ authorization: '' }, 'malformed'],
      [{ authorization: 'Bearer' }, 'malformed'],
      [{ authorization: `Digest ${key}` }, 'malformed'],
      [{ authorization: key }, 'malformed'],
      [{ authorization: basic('', '') }, 'malformed'],
      [{ authorization: `Bearer ${'x'.repeat(5000)}` }, 'malformed'],
      [{ 'x-api-key': newApiKey() }, 'unknown'],
      [{ 'x-api-key': 'guess-of-the-token' }, 'unknown'],
      [{ authorization: basic('admin', 'guess-of-the-token') }, 'unknown'],
    ];
    for (const [headers, reason] of refused) {
      const error = refusalOf(headers);
      assert.equal(error.code, 'PULSE_TENANCY_CREDENTIAL_INVALID');
      assert.equal(error.details?.['reason'], reason, JSON.stringify(headers));
      const shown = JSON.stringify([error.message, error.details]);
      for (const value of Object.values(headers)) {
        if (value.length > 8) assert.ok(!shown.includes(value.slice(-8)), shown);
      }
    }
  });

  test('lets nobody in as administrator when there is no admin token', () => {
    assert.equal(refusalOf({ 'x-api-key': 'x' }, '').status, 401);
    assert.equal(refusalOf({ authorization: basic('', '') }, '').status, 401);
  });

  test('passes on that the directory is stale, and still knows the administrator', () => {
    const stale = {
      principal: () => {
        throw tenancyError('PULSE_TENANCY_DIRECTORY_STALE', 'stale');
      },
    };
    assert.throws(
      () => authenticate({ 'x-api-key': key }, stale, adminToken),
      (error) => hasCode(error, 'PULSE_TENANCY_DIRECTORY_STALE') && error.status === 503 && error.retryable,
    );
    assert.deepEqual(authenticate({ 'x-api-key': adminToken }, stale, adminToken), { kind: 'admin' });
    assert.deepEqual(authenticate({ 'x-api-key': key }, stale, key), { kind: 'admin' });
  });
});
