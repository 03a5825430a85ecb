// The audit log against a real Postgres: append-only, chained, whole or named broken.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client } from 'pg';
import { type TestDatabase, type TestScope, testDatabase } from '../../tests/support/database.ts';
import { addKey, addTenant, administrator } from '../../tests/support/tenancy.ts';
import { systemClock } from '../core/clock.ts';
import { revokeKey } from './api-keys.ts';
import { type Actor, listAuditRows } from './audit.ts';
import { auditHash, canonicalJson, platformChain } from './audit-chain.ts';
import { performAct, updateTenant } from './tenants.ts';
import { type AuditBreak, verifyAudit } from './verify-audit.ts';

const ownerOfAcme: Actor = { name: 'key:key_1', requestId: 'request-1' };

/** A chain of 8 rows of tenant acme: one creation and seven changes by its owner. */
async function chainOfEight(t: TestScope): Promise<TestDatabase> {
  const tested = await testDatabase(t);
  await addTenant(tested.database, 'acme');
  const context = { database: tested.database, clock: systemClock };
  for (let i = 1; i <= 7; i++) await updateTenant(context, ownerOfAcme, 'acme', { name: `Acme ${i}` });
  return tested;
}

/** Changes the log as somebody who owns the tables and takes the trigger away can. */
async function tamper(ownerUrl: string, ...statements: readonly string[]): Promise<void> {
  const owner = new Client({ connectionString: ownerUrl });
  await owner.connect();
  try {
    await owner.query("SELECT set_config('pulse.tenants', 'acme', false)");
    // Views, since a superuser sees every tenant.
    await owner.query("CREATE TEMP VIEW rows AS SELECT * FROM audit_log WHERE tenant_id = 'acme'");
    await owner.query("CREATE TEMP VIEW heads AS SELECT * FROM audit_heads WHERE tenant_id = 'acme'");
    await owner.query('ALTER TABLE audit_log DISABLE TRIGGER append_only');
    for (const statement of statements) {
      assert.notEqual((await owner.query(statement)).rowCount, 0, statement);
    }
    await owner.query('ALTER TABLE audit_log ENABLE TRIGGER append_only');
  } finally {
    await owner.end();
  }
}

async function breakOf(tested: TestDatabase): Promise<Pick<AuditBreak, 'sequence' | 'reason'> | null> {
  const verdicts = await verifyAudit(tested.database, [platformChain, 'acme']);
  assert.deepEqual(
    verdicts.map((verdict) => verdict.chain),
    [platformChain, 'acme'],
  );
  assert.equal(verdicts[0]?.broken, null, 'the chain of the platform is whole');
  const broken = verdicts[1]?.broken ?? null;
  return broken === null ? null : { sequence: broken.sequence, reason: broken.reason };
}

describe('audit log', () => {
  test('records each act once in each of its chains, newest first, and the chains are whole', async (t) => {
    const { database } = await testDatabase(t);
    const context = { database, clock: systemClock };
    await addTenant(database, 'acme');
    const key = await addKey(database, 'acme', ['admin'], { name: 'owner' });
    const owner: Actor = { name: `key:${key.keyId}`, requestId: 'request-7' };
    await updateTenant(context, owner, 'acme', { name: 'Acme Ltd' });
    await updateTenant(context, owner, 'acme', { name: 'Acme Ltd' });
    await updateTenant(context, administrator, 'acme', { status: 'suspended' });
    await revokeKey(context, administrator, 'acme', key.keyId);
    await revokeKey(context, administrator, 'acme', key.keyId);
    const all = { below: null, fromMs: null, toMs: null };
    const rows = await listAuditRows(database, 'acme', all, 100);
    assert.deepEqual(
      rows.map((row) => [row.sequence, row.actor, row.action, row.target]),
      [
        [5, 'admin', 'key.revoked', `acme/${key.keyId}`],
        [4, 'admin', 'tenant.updated', 'acme'],
        [3, owner.name, 'tenant.updated', 'acme'],
        [2, 'admin', 'key.created', `acme/${key.keyId}`],
        [1, 'admin', 'tenant.created', 'acme'],
      ],
    );
    assert.deepEqual(rows[2]?.details, { name: { from: 'acme', to: 'Acme Ltd' }, request_id: 'request-7' });
    const platform = await listAuditRows(database, platformChain, all, 100);
    assert.deepEqual(
      platform.map((row) => row.action),
      ['key.revoked', 'tenant.updated', 'key.created', 'tenant.created'],
    );
    assert.deepEqual(
      (await verifyAudit(database, [platformChain, 'acme'])).map((verdict) => [
        verdict.chain,
        verdict.rows,
        verdict.broken,
      ]),
      [
        [platformChain, 4, null],
        ['acme', 5, null],
      ],
    );
  });

  test('neither the program nor the owner can change, remove or empty it', async (t) => {
    const { database, ownerUrl } = await chainOfEight(t);
    const attempts = [
      "UPDATE audit_log SET actor = 'nobody'",
      'DELETE FROM audit_log',
      'TRUNCATE audit_log',
      "INSERT INTO audit_log SELECT 'acme', 1, at, 'x', action, target, details, previous_hash, hash FROM audit_log WHERE sequence = 1 ON CONFLICT (tenant_id, sequence) DO UPDATE SET actor = 'x'",
    ];
    const owner = new Client({ connectionString: ownerUrl });
    await owner.connect();
    try {
      await owner.query("SELECT set_config('pulse.tenants', 'acme', false)");
      for (const statement of attempts) {
        await assert.rejects(
          database.withTenant('acme', (client) => client.query(statement)),
          /permission denied/,
          statement,
        );
        await assert.rejects(owner.query(statement), /append-only/, statement);
      }
    } finally {
      await owner.end();
    }
    assert.equal((await verifyAudit(database, [platformChain, 'acme']))[1]?.rows, 8);
  });

  const tampering: [string, readonly string[], Pick<AuditBreak, 'sequence' | 'reason'>][] = [
    [
      'a changed actor',
      ["UPDATE rows SET actor = 'key:key_2' WHERE sequence = 3"],
      { sequence: 3, reason: 'changed' },
    ],
    [
      'a changed detail',
      [`UPDATE rows SET details = details || '{"x": 1}' WHERE sequence = 5`],
      { sequence: 5, reason: 'changed' },
    ],
    [
      'a time moved by a microsecond',
      ["UPDATE rows SET at = at + interval '1 microsecond' WHERE sequence = 2"],
      { sequence: 2, reason: 'changed' },
    ],
    ['a removed row', ['DELETE FROM rows WHERE sequence = 4'], { sequence: 4, reason: 'missing' }],
    ['a removed first row', ['DELETE FROM rows WHERE sequence = 1'], { sequence: 1, reason: 'missing' }],
    ['a removed newest row', ['DELETE FROM rows WHERE sequence = 8'], { sequence: 8, reason: 'missing' }],
    [
      'all rows removed with the head',
      ['DELETE FROM rows', 'DELETE FROM heads'],
      { sequence: 1, reason: 'missing' },
    ],
    [
      'a removed row, the rest numbered anew',
      ['DELETE FROM rows WHERE sequence = 4', 'UPDATE rows SET sequence = sequence - 1 WHERE sequence > 4'],
      { sequence: 4, reason: 'changed' },
    ],
    [
      'two rows in each other’s place',
      [
        'UPDATE rows SET sequence = 100 WHERE sequence = 5',
        'UPDATE rows SET sequence = 5 WHERE sequence = 6',
        'UPDATE rows SET sequence = 6 WHERE sequence = 100',
      ],
      { sequence: 5, reason: 'changed' },
    ],
    ['a removed head', ['DELETE FROM heads'], { sequence: 8, reason: 'head' }],
    [
      'a head set back',
      ['UPDATE heads SET sequence = 7, hash = (SELECT hash FROM rows WHERE sequence = 7)'],
      { sequence: 8, reason: 'head' },
    ],
    [
      'a changed hash',
      ["UPDATE rows SET hash = decode(repeat('ab', 32), 'hex') WHERE sequence = 8"],
      { sequence: 8, reason: 'changed' },
    ],
  ];
  for (const [name, statements, expected] of tampering) {
    test(`verify names the first broken row: ${name}`, async (t) => {
      const tested = await chainOfEight(t);
      assert.equal(await breakOf(tested), null);
      await tamper(tested.ownerUrl, ...statements);
      assert.deepEqual(await breakOf(tested), expected);
    });
  }

  test('verify finds a row whose hash was made to fit its new content', async (t) => {
    const tested = await chainOfEight(t);
    const rows = await listAuditRows(tested.database, 'acme', { below: 5, fromMs: null, toMs: null }, 1);
    const forged = auditHash({ ...(rows[0] as NonNullable<(typeof rows)[0]>), actor: 'system' });
    await tamper(
      tested.ownerUrl,
      `UPDATE rows SET actor = 'system', hash = decode('${forged}', 'hex') WHERE sequence = 4`,
    );
    assert.deepEqual(await breakOf(tested), { sequence: 5, reason: 'unlinked' });
  });

  test('an act that fails leaves no record, and a record that fails undoes the act', async (t) => {
    const tested = await chainOfEight(t);
    const act = { actor: ownerOfAcme, atMs: Date.now(), tenantId: 'acme' };
    const record = { action: 'test.act', target: 'acme', details: {} };
    await assert.rejects(
      performAct(tested.database, act, async () => {
        throw new Error('the act failed');
      }),
      /the act failed/,
    );
    assert.equal((await verifyAudit(tested.database, [platformChain, 'acme']))[1]?.rows, 8);
    await tamper(tested.ownerUrl, 'DELETE FROM heads');
    await assert.rejects(
      performAct(tested.database, act, async (client) => {
        await client.query("UPDATE tenants SET name = 'changed'");
        return { result: null, record };
      }),
      { code: 'PULSE_TENANCY_AUDIT_CONFLICT' },
    );
    const names = await tested.database.withTenant('acme', (client) =>
      client.query<{ name: string }>('SELECT name FROM tenants'),
    );
    assert.deepEqual(names.rows, [{ name: 'Acme 7' }]);
  });

  test('concurrent acts make one unbroken chain', async (t) => {
    const { database } = await testDatabase(t);
    await addTenant(database, 'acme');
    const context = { database, clock: systemClock };
    await Promise.all(
      Array.from({ length: 24 }, (_, i) =>
        updateTenant(context, i % 2 === 0 ? ownerOfAcme : administrator, 'acme', { name: `name ${i}` }),
      ),
    );
    const verdicts = await verifyAudit(database, [platformChain, 'acme']);
    assert.deepEqual(
      verdicts.map((verdict) => [verdict.rows, verdict.broken]),
      [
        [13, null],
        [25, null],
      ],
    );
  });

  test('the hash does not depend on the order of members, which jsonb does not keep', () => {
    assert.equal(
      canonicalJson({ b: [1, { d: null, c: 'x' }], a: true }),
      '{"a":true,"b":[1,{"c":"x","d":null}]}',
    );
    assert.equal(canonicalJson({ a: undefined, b: 1 }), '{"b":1}');
  });
});
