import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PulseError } from '../core/errors.ts';
import { parseNewKey } from './key-input.ts';
import { parseNewTenant, parseTenantChange } from './tenant-input.ts';

interface Failure {
  readonly pointer: string;
  readonly message: string;
}

function failuresOf(work: () => unknown): readonly Failure[] {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof PulseError && error.code === 'PULSE_TENANCY_REQUEST_INVALID', String(error));
    assert.equal(error.status, 400);
    return error.details?.['errors'] as readonly Failure[];
  }
  return [];
}

const pointersOf = (work: () => unknown): string[] => failuresOf(work).map((failure) => failure.pointer);

describe('tenant input', () => {
  test('fills in what is left out', () => {
    assert.deepEqual(parseNewTenant({ tenant_id: 'acme' }), {
      tenantId: 'acme',
      name: 'acme',
      topics: 'shared',
      limits: { requestsPerMinute: 300 },
      clientAddressPolicy: 'truncate',
      lookups: [],
    });
  });

  test('finds every mistake at once and names field, value and what is allowed', () => {
    const failures = failuresOf(() =>
      parseNewTenant({
        tenant_id: 'Acme!',
        name: '',
        limits: { requests_per_minute: 0, per_second: 1 },
        topics: 'own',
        colour: 'red',
      }),
    );
    assert.deepEqual(failures.map((failure) => failure.pointer).sort(), [
      '/colour',
      '/limits/per_second',
      '/limits/requests_per_minute',
      '/name',
      '/tenant_id',
      '/topics',
    ]);
    const limit = failures.find((failure) => failure.pointer === '/limits/requests_per_minute');
    assert.equal(
      limit?.message,
      '/limits/requests_per_minute is 0; it must be a whole number from 1 to 1000000000',
    );
  });

  test('refuses reserved ids, and values of the wrong type without failing on them', () => {
    for (const tenantId of ['_platform', '_', '', 'a'.repeat(64), 'a.b', 'ä', 7, null, ['acme'], {}]) {
      assert.deepEqual(
        pointersOf(() => parseNewTenant({ tenant_id: tenantId })),
        ['/tenant_id'],
      );
    }
    for (const body of [undefined, null, 'acme', 7, []])
      assert.ok(failuresOf(() => parseNewTenant(body)).length > 0);
    for (const name of ['\u0000', 'half \ud800', ' ', 'x'.repeat(201)]) {
      assert.deepEqual(
        pointersOf(() => parseNewTenant({ tenant_id: 'a', name })),
        ['/name'],
      );
    }
  });

  test('takes lookups that can be stored, and no others', () => {
    const lookup = { name: 'region', pointer: '/data/region_id', values: { r1: { name: 'North' } } };
    assert.deepEqual(parseNewTenant({ tenant_id: 'a', lookups: [lookup] }).lookups, [lookup]);
    let deep: unknown = 1;
    for (let i = 0; i < 20_000; i++) deep = { deep };
    const refused: unknown[] = [
      { ...lookup, name: '1' },
      { ...lookup, pointer: 'data' },
      { ...lookup, pointer: '/data/~2' },
      { ...lookup, values: [] },
      { ...lookup, values: { 'a\u0000': 1 } },
      { ...lookup, values: { a: '\ud800' } },
      { ...lookup, values: { a: deep } },
      { ...lookup, values: { a: 'x'.repeat(70_000) } },
      { ...lookup, colour: 'red' },
      deep,
      null,
    ];
    for (const [i, entry] of refused.entries()) {
      assert.ok(
        pointersOf(() => parseNewTenant({ tenant_id: 'a', lookups: [entry] })).length > 0,
        `case ${i}`,
      );
    }
    assert.deepEqual(
      pointersOf(() => parseNewTenant({ tenant_id: 'a', lookups: [lookup, lookup] })),
      ['/lookups'],
    );
    assert.ok(pointersOf(() => parseNewTenant({ tenant_id: 'a', name: deep })).includes('/name'));
  });

  test('a change names what it changes, and ids and topics never change', () => {
    assert.deepEqual(parseTenantChange({ limits: { requests_per_minute: 5 } }), {
      limits: { requestsPerMinute: 5 },
    });
    assert.deepEqual(
      pointersOf(() => parseTenantChange({ tenant_id: 'b', topics: 'shared' })),
      ['/tenant_id', '/topics'],
    );
    assert.deepEqual(
      pointersOf(() => parseTenantChange({})),
      [''],
    );
    assert.deepEqual(
      pointersOf(() => parseTenantChange({ limits: {} })),
      [''],
    );
  });
});

describe('key input', () => {
  const nowMs = Date.UTC(2026, 0, 1);

  test('takes each scope once, in one order', () => {
    assert.deepEqual(parseNewKey({ name: 'k', scopes: ['read', 'ingest', 'read'] }, nowMs), {
      name: 'k',
      scopes: ['ingest', 'read'],
      expiresAtMs: null,
    });
  });

  test('refuses unknown scopes, none at all, and an expiry that is past or no time', () => {
    for (const scopes of [[], ['write'], 'read', undefined, [['read']]]) {
      assert.deepEqual(
        pointersOf(() => parseNewKey({ name: 'k', scopes }, nowMs)),
        ['/scopes'],
      );
    }
    for (const expires of ['2025-12-31T00:00:00Z', 'tomorrow', 1, '2026-13-01T00:00:00Z']) {
      assert.deepEqual(
        pointersOf(() => parseNewKey({ name: 'k', scopes: ['read'], expires_at: expires }, nowMs)),
        ['/expires_at'],
      );
    }
  });
});
