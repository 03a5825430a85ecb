import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { auditHash, firstPreviousHash } from '../tenancy/audit-chain.ts';
import type { Json } from './api.ts';
import { ChainCheck, type ChainVerdict } from './audit-check.ts';

/** A whole chain as the API shows it, newest first. */
function chainOf(length: number): Json[] {
  const rows: Json[] = [];
  let previousHash = firstPreviousHash;
  for (let sequence = 1; sequence <= length; sequence++) {
    const content = {
      tenantId: 'acme',
      sequence,
      at: `2026-01-01T00:00:0${sequence}.000000Z`,
      actor: 'admin',
      action: 'tenant.updated',
      target: 'acme',
      details: { b: sequence, a: [1] },
      previousHash,
    };
    const hash = auditHash(content);
    const { tenantId: tenant_id, at: occurred_at, previousHash: previous_hash, ...rest } = content;
    rows.unshift({ ...rest, tenant_id, occurred_at, previous_hash, hash });
    previousHash = hash;
  }
  return rows;
}

function check(rows: readonly Json[]): ChainVerdict {
  const chain = new ChainCheck('acme');
  for (const row of rows) chain.add(row);
  return chain.verdict();
}

describe('ChainCheck', () => {
  test('finds a whole chain whole and names its newest hash', () => {
    const rows = chainOf(5);
    assert.deepEqual(check(rows), { chain: 'acme', rows: 5, head_hash: rows[0]?.['hash'], problem: null });
    assert.equal(check([]).problem, null);
  });

  test('sees changed, removed and swapped rows, and a cut beginning', () => {
    const changed = chainOf(5).map((row) => (row['sequence'] === 3 ? { ...row, actor: 'key:x' } : row));
    assert.match(check(changed).problem ?? '', /content of row 3/);
    const removed = chainOf(5).filter((row) => row['sequence'] !== 3);
    assert.match(check(removed).problem ?? '', /row 3 is missing/);
    const other = chainOf(6)
      .slice(0, 1)
      .map((row) => ({ ...row, sequence: 5 }));
    assert.notEqual(check([...other, ...chainOf(4)]).problem, null);
    assert.match(check(chainOf(5).slice(0, 3)).problem ?? '', /rows 1 to 2 are missing/);
  });
});
