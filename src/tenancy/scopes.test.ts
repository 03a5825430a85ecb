import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode, PulseError } from '../core/errors.ts';
import {
  assertIngest,
  assertScope,
  hasScope,
  type NeededScope,
  tenantOfPath,
  tenantScope,
} from './scopes.ts';
import type { Principal, Scope, Tenant } from './types.ts';

const administrator: Principal = { kind: 'admin' };
const keyWith = (...scopes: Scope[]): Principal => ({
  kind: 'key',
  keyId: 'key_1',
  tenantId: 'acme',
  scopes,
});
const tenants = ['acme', 'other'].map((tenantId) => ({ tenantId }) as Tenant);
const directory = {
  tenant: (tenantId: string) => tenants.find((tenant) => tenant.tenantId === tenantId) ?? null,
  tenants: () => tenants,
};

describe('scopes', () => {
  test('each role may what it may, and nothing more', () => {
    const table: [Principal, Record<NeededScope, boolean>][] = [
      [administrator, { ingest: false, read: true, admin: true, platform: true }],
      [keyWith('admin'), { ingest: true, read: true, admin: true, platform: false }],
      [keyWith('read'), { ingest: false, read: true, admin: false, platform: false }],
      [keyWith('ingest'), { ingest: true, read: false, admin: false, platform: false }],
      [keyWith('ingest', 'read'), { ingest: true, read: true, admin: false, platform: false }],
    ];
    for (const [principal, expected] of table) {
      for (const needed of ['ingest', 'read', 'admin', 'platform'] as const) {
        assert.equal(hasScope(principal, needed), expected[needed], `${JSON.stringify(principal)} ${needed}`);
      }
    }
  });

  test('a missing scope is a 403 that names the scope needed', () => {
    assert.throws(
      () => assertScope(keyWith('ingest'), 'read'),
      (error) =>
        hasCode(error, 'PULSE_TENANCY_SCOPE_MISSING') &&
        error.status === 403 &&
        error.details?.['scope_needed'] === 'read' &&
        /scope read/.test(error.message),
    );
  });

  test('the administrator cannot ingest, having no tenant, and is told what to use', () => {
    assert.throws(() => assertIngest(administrator), /key of the tenant with scope ingest/);
    assert.equal(assertIngest(keyWith('ingest')).tenantId, 'acme');
  });

  test('a key sees its own tenant, and cannot tell a foreign tenant from none', () => {
    assert.deepEqual(tenantScope(keyWith('read'), undefined, directory), ['acme']);
    assert.deepEqual(tenantScope(keyWith('read'), 'acme', directory), ['acme']);
    const answers = ['other', 'nobody'].map((tenantId) => {
      try {
        return tenantScope(keyWith('read'), tenantId, directory);
      } catch (error) {
        assert.ok(error instanceof PulseError);
        return [error.code, error.status, error.message, error.details];
      }
    });
    assert.deepEqual(answers[0], answers[1]);
    assert.equal(answers[0]?.[1], 403);
  });

  test('the administrator sees all tenants, or the one asked for', () => {
    assert.deepEqual(tenantScope(administrator, null, directory), ['acme', 'other']);
    assert.deepEqual(tenantScope(administrator, 'other', directory), ['other']);
    assert.throws(
      () => tenantScope(administrator, 'nobody', directory),
      (error) => hasCode(error, 'PULSE_TENANCY_TENANT_UNKNOWN'),
    );
  });

  test('a path to a foreign tenant answers as one to a tenant that does not exist', () => {
    assert.equal(tenantOfPath(keyWith('read'), 'acme'), 'acme');
    assert.equal(tenantOfPath(administrator, 'other'), 'other');
    for (const tenantId of ['other', 'nobody', 'No Slug!']) {
      assert.throws(() => tenantOfPath(keyWith('admin'), tenantId), {
        code: 'PULSE_TENANCY_TENANT_UNKNOWN',
        message: `There is no tenant '${tenantId}'.`,
      });
    }
  });
});
