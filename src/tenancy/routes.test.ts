// The routes of tenancy, each with each kind of caller, on a real Postgres.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from 'pg';
import {
  addKey,
  addTenant,
  adminToken,
  type CallAnswer,
  type Method,
  type TenancyApp,
  tenancyApp,
} from '../../tests/support/tenancy.ts';
import { newApiKey } from './keys.ts';

const callers = ['none', 'unknown', 'revoked', 'ingest', 'read', 'owner', 'foreign owner', 'admin'] as const;
type Caller = (typeof callers)[number];

interface Route {
  readonly method: Method;
  /** `:key` stands for a fresh key of acme. */
  readonly url: string;
  readonly body?: (n: number) => Record<string, unknown>;
  readonly expected: Record<Caller, number>;
}

/** Statuses when the tenant of the path is acme, to which all callers but the foreign owner belong. */
const expected = (statuses: Partial<Record<Caller, number>>): Record<Caller, number> => ({
  none: 401,
  unknown: 401,
  revoked: 401,
  ingest: 403,
  read: 403,
  owner: 403,
  'foreign owner': 403,
  admin: 200,
  ...statuses,
});

const routes: readonly Route[] = [
  {
    method: 'POST',
    url: '/v1/tenants',
    body: (n) => ({
      tenant_id: `new-${n}`,
      name: 'New',
      limits: { requests_per_minute: 10 },
      topics: 'shared',
    }),
    expected: expected({ admin: 201 }),
  },
  { method: 'GET', url: '/v1/tenants', expected: expected({ read: 200, owner: 200, 'foreign owner': 200 }) },
  {
    method: 'GET',
    url: '/v1/tenants/acme',
    expected: expected({ read: 200, owner: 200, 'foreign owner': 404 }),
  },
  {
    method: 'PATCH',
    url: '/v1/tenants/acme',
    body: (n) => ({ name: `Acme ${n}` }),
    expected: expected({ owner: 200, 'foreign owner': 404 }),
  },
  {
    method: 'PATCH',
    url: '/v1/tenants/acme',
    body: (n) => ({ limits: { requests_per_minute: 1000 + n } }),
    expected: expected({ 'foreign owner': 404 }),
  },
  {
    method: 'PATCH',
    url: '/v1/tenants/acme',
    body: () => ({ status: 'active' }),
    expected: expected({ 'foreign owner': 404 }),
  },
  {
    method: 'POST',
    url: '/v1/tenants/acme/keys',
    body: (n) => ({ name: `made ${n}`, scopes: ['read'] }),
    expected: expected({ owner: 201, 'foreign owner': 404, admin: 201 }),
  },
  { method: 'GET', url: '/v1/tenants/acme/keys', expected: expected({ owner: 200, 'foreign owner': 404 }) },
  {
    method: 'DELETE',
    url: '/v1/tenants/acme/keys/:key',
    expected: expected({ owner: 200, 'foreign owner': 404 }),
  },
  { method: 'GET', url: '/v1/usage', expected: expected({ read: 200, owner: 200, 'foreign owner': 200 }) },
  { method: 'GET', url: '/v1/usage?tenant_id=acme', expected: expected({ read: 200, owner: 200 }) },
  { method: 'GET', url: '/v1/audit', expected: expected({ owner: 200, 'foreign owner': 200 }) },
  { method: 'GET', url: '/v1/audit?tenant_id=acme', expected: expected({ owner: 200 }) },
  { method: 'GET', url: '/v1/audit/verify', expected: expected({ owner: 200, 'foreign owner': 200 }) },
  { method: 'GET', url: '/v1/audit/verify?tenant_id=acme', expected: expected({ owner: 200 }) },
];

/** Tenants acme and globex with a credential for each kind of caller. */
async function prepare(tenancy: TenancyApp): Promise<Record<Caller, string | null>> {
  const { database, directory, call } = tenancy;
  await addTenant(database, 'acme');
  await addTenant(database, 'globex');
  const revoked = await addKey(database, 'acme', ['admin'], { name: 'revoked' });
  const credentials = {
    none: null,
    unknown: newApiKey(),
    revoked: revoked.apiKey,
    ingest: (await addKey(database, 'acme', ['ingest'])).apiKey,
    read: (await addKey(database, 'acme', ['read'])).apiKey,
    owner: (await addKey(database, 'acme', ['admin'])).apiKey,
    'foreign owner': (await addKey(database, 'globex', ['admin'])).apiKey,
    admin: adminToken,
  };
  await directory.refresh();
  const answer = await call('DELETE', `/v1/tenants/acme/keys/${revoked.keyId}`, adminToken);
  assert.equal(answer.status, 200);
  return credentials;
}

/** What may not differ between two answers; the request id always does. */
function comparable(answer: CallAnswer, tenantId: string): unknown {
  const body = JSON.stringify({ ...answer.body, request_id: '' }).replaceAll(tenantId, 'X');
  const headers = Object.entries(answer.headers).filter(
    ([name]) => !['date', 'content-length'].includes(name),
  );
  return { status: answer.status, body, headers };
}

describe('tenancy routes', () => {
  test('every route answers every kind of caller as its role allows', async (t) => {
    const tenancy = await tenancyApp(t);
    const credentials = await prepare(tenancy);
    let n = 0;
    for (const route of routes) {
      for (const caller of callers) {
        n++;
        const key = route.url.includes(':key')
          ? await addKey(tenancy.database, 'acme', ['read'], { name: `k${n}` })
          : null;
        const url = route.url.replace(':key', key?.keyId ?? '');
        const answer = await tenancy.call(route.method, url, credentials[caller], route.body?.(n));
        const what = `${caller}: ${route.method} ${url} ${JSON.stringify(answer.body)}`;
        assert.equal(answer.status, route.expected[caller], what);
        if (answer.status >= 400) {
          for (const member of ['type', 'title', 'status', 'detail', 'code', 'next']) {
            assert.ok(member in answer.body, `${member} is missing: ${what}`);
          }
          assert.match(String(answer.headers['content-type']), /application\/problem\+json/);
        }
        if (answer.status === 401) assert.match(String(answer.headers['www-authenticate']), /Bearer/);
        if (answer.status === 403) assert.match(JSON.stringify(answer.body), /scope_needed|FOREIGN/, what);
      }
    }
  });

  test('a foreign tenant and one that does not exist look the same to a key', async (t) => {
    const tenancy = await tenancyApp(t);
    const { owner } = await prepare(tenancy);
    const foreign = await addKey(tenancy.database, 'globex', ['read']);
    const calls: [Method, string, unknown][] = [
      ['GET', '/v1/tenants/TENANT', undefined],
      ['PATCH', '/v1/tenants/TENANT', { name: 'x' }],
      ['PATCH', '/v1/tenants/TENANT', { status: 'suspended' }],
      ['PATCH', '/v1/tenants/TENANT', { colour: 'red' }],
      ['GET', '/v1/tenants/TENANT/keys', undefined],
      ['POST', '/v1/tenants/TENANT/keys', { name: 'x', scopes: ['admin'] }],
      ['DELETE', `/v1/tenants/TENANT/keys/${foreign.keyId}`, undefined],
      ['GET', '/v1/usage?tenant_id=TENANT', undefined],
      ['GET', '/v1/audit?tenant_id=TENANT', undefined],
      ['GET', '/v1/audit?tenant_id=_platform', undefined],
      ['GET', '/v1/audit/verify?tenant_id=TENANT', undefined],
    ];
    for (const [method, url, body] of calls) {
      const answers = await Promise.all(
        ['globex', 'nobody'].map(async (tenantId) =>
          comparable(await tenancy.call(method, url.replace('TENANT', tenantId), owner, body), tenantId),
        ),
      );
      assert.deepEqual(answers[0], answers[1], `${method} ${url}`);
    }
    await tenancy.directory.refresh();
    assert.ok(tenancy.directory.principal(foreign.apiKey), 'the foreign key was not revoked');
  });

  test('a tenant and its first key are made with two calls, and the key is shown once and kept out of logs', async (t) => {
    const tenancy = await tenancyApp(t);
    const created = await tenancy.call('POST', '/v1/tenants', adminToken, {
      tenant_id: 'acme',
      name: 'Acme',
      limits: { requests_per_minute: 600 },
      topics: 'dedicated',
    });
    assert.equal(created.status, 201);
    const { created_at: createdAt, ...tenant } = created.body;
    assert.match(String(createdAt), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.deepEqual(tenant, {
      tenant_id: 'acme',
      name: 'Acme',
      topics: 'dedicated',
      status: 'active',
      limits: { requests_per_minute: 600 },
      client_address_policy: 'truncate',
      lookups: [],
    });
    const again = await tenancy.call('POST', '/v1/tenants', adminToken, { tenant_id: 'acme' });
    assert.equal(again.status, 409);
    assert.equal(again.body['code'], 'PULSE_TENANCY_TENANT_EXISTS');

    const key = await tenancy.call('POST', '/v1/tenants/acme/keys', adminToken, {
      name: 'shop',
      scopes: ['admin'],
    });
    assert.equal(key.status, 201);
    assert.equal(key.headers['cache-control'], 'no-store');
    const apiKey = String(key.body['api_key']);
    assert.match(apiKey, /^pk_/);
    const listed = await tenancy.call('GET', '/v1/tenants/acme/keys', apiKey);
    assert.equal(listed.status, 200, 'the key works at once in the process that made it');
    const { api_key: secret, ...record } = key.body;
    assert.deepEqual(listed.body, { keys: [record], next_cursor: null });
    const audit = await tenancy.call('GET', '/v1/audit', apiKey);
    for (const shown of [
      JSON.stringify(listed.body),
      JSON.stringify(audit.body),
      tenancy.logLines.join(''),
    ]) {
      assert.ok(!shown.includes(String(secret)) && !shown.includes(adminToken), 'a secret is shown');
    }
    assert.ok(tenancy.logLines.length > 0);
  });

  test('a revoked key is refused by the next request, and revoking it again changes nothing', async (t) => {
    const tenancy = await tenancyApp(t);
    const { owner } = await prepare(tenancy);
    const listed = await tenancy.call('GET', '/v1/tenants/acme/keys', owner);
    const own = (listed.body['keys'] as { name: string; key_id: string }[]).find(
      (key) => key.name === 'admin',
    );
    const url = `/v1/tenants/acme/keys/${own?.key_id}`;
    const first = await tenancy.call('DELETE', url, owner);
    assert.equal(typeof first.body['revoked_at'], 'string');
    assert.equal((await tenancy.call('GET', '/v1/tenants/acme', owner)).status, 401);
    assert.deepEqual((await tenancy.call('DELETE', url, adminToken)).body, first.body);
    for (const keyId of ['key_0', '%00', 'key_00000000000000000000000000000000']) {
      const unknown = await tenancy.call('DELETE', `/v1/tenants/acme/keys/${keyId}`, adminToken);
      assert.equal(unknown.body['code'], 'PULSE_TENANCY_KEY_UNKNOWN');
    }
  });

  test('a suspended tenant is locked out, and the administrator can bring it back', async (t) => {
    const tenancy = await tenancyApp(t);
    const { read } = await prepare(tenancy);
    const suspended = await tenancy.call('PATCH', '/v1/tenants/acme', adminToken, { status: 'suspended' });
    assert.equal(suspended.body['status'], 'suspended');
    assert.equal((await tenancy.call('GET', '/v1/tenants/acme', read)).status, 401);
    await tenancy.call('PATCH', '/v1/tenants/acme', adminToken, { status: 'active' });
    assert.equal((await tenancy.call('GET', '/v1/tenants/acme', read)).status, 200);
  });

  test('lists page through everything once', async (t) => {
    const tenancy = await tenancyApp(t);
    for (let i = 0; i < 7; i++) await addTenant(tenancy.database, `tenant-${i}`);
    for (let i = 0; i < 5; i++) await addKey(tenancy.database, 'tenant-0', ['read'], { name: `key ${i}` });
    const pages: [string, string, string, number][] = [
      ['/v1/tenants?limit=3', 'tenants', 'tenant_id', 7],
      ['/v1/tenants/tenant-0/keys?limit=2', 'keys', 'key_id', 5],
      ['/v1/audit?tenant_id=tenant-0&limit=4', 'entries', 'sequence', 6],
      ['/v1/audit?limit=5', 'entries', 'sequence', 12],
    ];
    for (const [url, member, id, total] of pages) {
      const seen = new Set<unknown>();
      let cursor: unknown = null;
      do {
        const suffix = cursor === null ? '' : `&cursor=${String(cursor)}`;
        const answer = await tenancy.call('GET', url + suffix, adminToken);
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
        for (const row of answer.body[member] as Record<string, unknown>[]) seen.add(row[id]);
        cursor = answer.body['next_cursor'];
      } while (cursor !== null);
      assert.equal(seen.size, total, url);
    }
  });

  test('mistakes in bodies and parameters come back named, never as a failure of the server', async (t) => {
    const tenancy = await tenancyApp(t);
    const { admin } = await prepare(tenancy);
    const cursor = (values: unknown): string => Buffer.from(JSON.stringify(values)).toString('base64url');
    const bad: [Method, string, unknown, string][] = [
      ['POST', '/v1/tenants', { tenant_id: '_mine' }, '/tenant_id'],
      ['POST', '/v1/tenants', {}, '/tenant_id'],
      ['POST', '/v1/tenants', [], ''],
      [
        'PATCH',
        '/v1/tenants/acme',
        { limits: { requests_per_minute: '300' } },
        '/limits/requests_per_minute',
      ],
      ['POST', '/v1/tenants/acme/keys', { name: 'x', scopes: ['root'] }, '/scopes'],
      ['GET', '/v1/tenants?limit=0', undefined, '/limit'],
      ['GET', '/v1/tenants?limit=1&limit=2', undefined, '/limit'],
      ['GET', '/v1/tenants?cursor=%00', undefined, '/cursor'],
      ['GET', `/v1/tenants/acme/keys?cursor=${cursor(['\u0000'])}`, undefined, '/cursor'],
      ['GET', `/v1/audit?cursor=${cursor([1.5])}`, undefined, '/cursor'],
      ['GET', `/v1/usage?cursor=${cursor(['acme', 'x'])}`, undefined, '/cursor'],
      ['GET', '/v1/usage?from=yesterday', undefined, '/from'],
      ['GET', '/v1/usage?from=2026-02-01&to=2026-01-01', undefined, '/from'],
      ['GET', '/v1/usage?from=2020-01-01&to=2026-01-01', undefined, '/from'],
      ['GET', '/v1/usage?tenant=acme', undefined, '/tenant'],
    ];
    for (const [method, url, body, pointer] of bad) {
      const answer = await tenancy.call(method, url, admin, body);
      assert.equal(answer.status, 400, `${url} ${JSON.stringify(answer.body)}`);
      const errors = answer.body['errors'] as { pointer: string; message: string }[];
      assert.ok(
        errors.some((error) => error.pointer === pointer),
        `${url} ${JSON.stringify(errors)}`,
      );
    }
    assert.equal((await tenancy.call('GET', '/v1/usage?to=0001-01-01T00:00:01Z', admin)).status, 200);
    assert.equal((await tenancy.call('GET', '/v1/tenants/No%00Slug', admin)).status, 404);
    assert.equal((await tenancy.call('GET', '/v1/usage?tenant_id=nobody', admin)).status, 404);
  });

  test('usage adds up accepted and stored events by tenant and day, for those who may see them', async (t) => {
    const tenancy = await tenancyApp(t);
    const { read } = await prepare(tenancy);
    await tenancy.database.withTenants(['acme', 'globex'], async (client) => {
      await client.query(
        `INSERT INTO stage_counts (tenant_id, received_minute, stage, outcome, topic, partition, events, bytes) VALUES
         ('acme', '2026-01-01T23:59Z', 'process', 'accepted', 'events.raw', 0, 10, 1000),
         ('acme', '2026-01-01T23:59Z', 'process', 'accepted', 'events.raw', 1, 5, 500),
         ('acme', '2026-01-01T23:59Z', 'process', 'valid', 'events.raw', 0, 9, 900),
         ('acme', '2026-01-01T23:59Z', 'store', 'stored', 'events.valid', 0, 14, 1400),
         ('acme', '2026-01-02T00:00Z', 'process', 'accepted', 'events.raw', 0, 1, 100),
         ('globex', '2026-01-02T00:00Z', 'process', 'accepted', 'events.raw', 0, 7, 70)`,
      );
    });
    const range = 'from=2026-01-01&to=2026-01-03';
    const acme = [
      { tenant_id: 'acme', day: '2026-01-01', events: 15, bytes: 1500, stored_rows: 14 },
      { tenant_id: 'acme', day: '2026-01-02', events: 1, bytes: 100, stored_rows: 0 },
    ];
    const globex = { tenant_id: 'globex', day: '2026-01-02', events: 7, bytes: 70, stored_rows: 0 };
    const usage = async (query: string, credential: string | null): Promise<unknown> =>
      (await tenancy.call('GET', `/v1/usage?${query}`, credential)).body['usage'];
    assert.deepEqual(await usage(range, read), acme);
    assert.deepEqual(await usage(range, adminToken), [...acme, globex]);
    assert.deepEqual(await usage(`${range}&tenant_id=globex`, adminToken), [globex]);
    assert.deepEqual(await usage('from=2026-01-01&to=2026-01-02', read), acme.slice(0, 1));
    const rows: unknown[] = [];
    let cursor = '';
    for (let page = 0; page < 5; page++) {
      const { body } = await tenancy.call('GET', `/v1/usage?${range}&limit=1${cursor}`, adminToken);
      rows.push(...(body['usage'] as unknown[]));
      if (body['next_cursor'] === null) break;
      cursor = `&cursor=${String(body['next_cursor'])}`;
    }
    assert.deepEqual(rows, [...acme, globex]);
  });

  test('the audit log shows an owner all that happened to its tenant, and the administrator the platform', async (t) => {
    const tenancy = await tenancyApp(t);
    const { owner } = await prepare(tenancy);
    await tenancy.call('PATCH', '/v1/tenants/acme', owner, { name: 'Acme Ltd' });
    await tenancy.call('PATCH', '/v1/tenants/acme', adminToken, { limits: { requests_per_minute: 5 } });
    const entries = async (url: string, credential: string | null): Promise<Record<string, unknown>[]> =>
      (await tenancy.call('GET', url, credential)).body['entries'] as Record<string, unknown>[];
    const own = await entries('/v1/audit', owner);
    assert.deepEqual(
      [own[0]?.['actor'], own[0]?.['action'], own[0]?.['tenant_id']],
      ['admin', 'tenant.updated', 'acme'],
    );
    assert.match(String(own[1]?.['actor']), /^key:key_/);
    assert.equal(own[0]?.['previous_hash'], own[1]?.['hash']);
    assert.ok(own.every((entry) => entry['tenant_id'] === 'acme'));
    const platform = await entries('/v1/audit', adminToken);
    assert.ok(platform.every((entry) => entry['tenant_id'] === '_platform' && entry['actor'] === 'admin'));
    assert.deepEqual(await entries('/v1/audit?tenant_id=acme', adminToken), own);
    assert.deepEqual(await entries('/v1/audit?to=2020-01-01', owner), []);
    assert.deepEqual(await entries('/v1/audit?from=2020-01-01', owner), own);
  });

  test('the audit log can be checked over HTTP, and names a row that is gone', async (t) => {
    const tenancy = await tenancyApp(t);
    const { owner } = await prepare(tenancy);
    const whole = await tenancy.call('GET', '/v1/audit/verify', adminToken);
    const chains = whole.body['chains'] as { chain: string; head_hash: string }[];
    assert.equal(whole.body['whole'], true);
    assert.deepEqual(
      chains.map((chain) => chain.chain),
      ['_platform', 'acme', 'globex'],
    );
    const newest = await tenancy.call('GET', '/v1/audit?limit=1', owner);
    assert.equal((newest.body['entries'] as { hash: string }[])[0]?.hash, chains[1]?.head_hash);
    const database = new Client({ connectionString: tenancy.ownerUrl });
    await database.connect();
    try {
      await database.query("SELECT set_config('pulse.tenants', 'acme', false)");
      await database.query('ALTER TABLE audit_log DISABLE TRIGGER append_only');
      await database.query("DELETE FROM audit_log WHERE tenant_id = 'acme' AND sequence = 2");
    } finally {
      await database.end();
    }
    const broken = await tenancy.call('GET', '/v1/audit/verify', owner);
    const [chain] = broken.body['chains'] as { broken: { sequence: number; reason: string } }[];
    assert.equal(broken.body['whole'], false);
    assert.deepEqual([chain?.broken.sequence, chain?.broken.reason], [2, 'missing']);
  });
});
