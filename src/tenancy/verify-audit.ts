// Checks that the chains of the audit log are whole. It trusts nothing that the rows say about themselves.
import type { Database } from '../database/types.ts';
import { type AuditRow, readAuditRows } from './audit.ts';
import { auditHash, firstPreviousHash, platformChain } from './audit-chain.ts';

/** The first row of a chain that is not what it should be. */
export interface AuditBreak {
  readonly sequence: number;
  /** `missing`: there is no row with this sequence. `changed`: its content does not give its hash. `unlinked`: it does
   * not follow the row before it. `head`: the newest row is not the one that the head names. */
  readonly reason: 'missing' | 'changed' | 'unlinked' | 'head';
  readonly detail: string;
}

export interface AuditVerdict {
  /** Tenant id, or `_platform`. */
  readonly chain: string;
  /** Rows found whole. */
  readonly rows: number;
  /** Hash of the newest whole row, hexadecimal; keep it elsewhere to find out a chain rewritten from there on. */
  readonly headHash: string | null;
  readonly broken: AuditBreak | null;
}

const pageRows = 1000;

interface Head {
  readonly sequence: number;
  readonly hash: string;
}

/**
 * Recomputes the given chains: tenant ids, and `platformChain` for the platform's own.
 * Shape: one verdict a chain, same order.
 * Guarantees: names the first changed, removed, moved or added row of each chain; acts recorded meanwhile are no breaks.
 */
export async function verifyAudit(
  database: Database,
  chains: readonly string[],
): Promise<readonly AuditVerdict[]> {
  const verdicts: AuditVerdict[] = [];
  for (const chain of chains) verdicts.push(await verifyChain(database, chain));
  return verdicts;
}

async function verifyChain(database: Database, chain: string): Promise<AuditVerdict> {
  const headBefore = await readHead(database, chain);
  let last: Head = { sequence: 0, hash: firstPreviousHash };
  let broken: AuditBreak | null = null;
  while (broken === null) {
    const above = last.sequence;
    const rows = await database.withTenant(chain, (client) => readAuditRows(client, chain, above, pageRows));
    for (const row of rows) {
      broken = findBreak(row, last, headBefore);
      if (broken !== null) break;
      last = row;
    }
    if (rows.length < pageRows) break;
  }
  // Rows and head move in one transaction, so a head read after the rows is at or beyond the last of them.
  broken ??= findHeadBreak(chain, last, headBefore, await readHead(database, chain));
  return { chain, rows: last.sequence, headHash: last.sequence === 0 ? null : last.hash, broken };
}

function findBreak(row: AuditRow, last: Head, head: Head | null): AuditBreak | null {
  const { sequence } = row;
  if (sequence !== last.sequence + 1) {
    const missing = last.sequence + 1;
    return {
      sequence: missing,
      reason: 'missing',
      detail: `Row ${missing} is missing; row ${sequence} is next.`,
    };
  }
  if (auditHash(row) !== row.hash) {
    return { sequence, reason: 'changed', detail: `The content of row ${sequence} does not give its hash.` };
  }
  if (row.previousHash !== last.hash) {
    return { sequence, reason: 'unlinked', detail: `Row ${sequence} does not follow row ${last.sequence}.` };
  }
  if (head !== null && sequence === head.sequence && row.hash !== head.hash) {
    return { sequence, reason: 'head', detail: `Row ${sequence} is not the row that the head names.` };
  }
  return null;
}

function findHeadBreak(
  chain: string,
  last: Head,
  before: Head | null,
  after: Head | null,
): AuditBreak | null {
  const expected = Math.max(before?.sequence ?? 0, chain === platformChain ? 0 : 1);
  if (last.sequence < expected) {
    const missing = last.sequence + 1;
    return { sequence: missing, reason: 'missing', detail: `Rows ${missing} to ${expected} are missing.` };
  }
  if (last.sequence > (after?.sequence ?? 0)) {
    const head = after === null ? 'there is no head' : `the head names row ${after.sequence}`;
    return { sequence: last.sequence, reason: 'head', detail: `Row ${last.sequence} exists, but ${head}.` };
  }
  return null;
}

async function readHead(database: Database, chain: string): Promise<Head | null> {
  const { rows } = await database.withTenant(
    chain,
    async (client) =>
      await client.query<Head>(
        `SELECT sequence, encode(hash, 'hex') AS hash FROM audit_heads WHERE tenant_id = $1`,
        [chain],
      ),
  );
  const row = rows[0];
  return row === undefined ? null : { sequence: row.sequence, hash: row.hash };
}
