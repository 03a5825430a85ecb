// Recomputes an audit chain from what the API shows, row by row from the newest back to the first.
import { auditHash, firstPreviousHash } from '../tenancy/audit-chain.ts';
import type { Json } from './api.ts';

/** What was found in one chain. */
export interface ChainVerdict {
  readonly chain: string;
  readonly rows: number;
  /** Hash of the newest row: kept elsewhere, it shows later whether the whole chain was rewritten or cut. */
  readonly head_hash: string | null;
  /** The first thing that is wrong, seen from the newest row; null when the chain is whole. */
  readonly problem: string | null;
}

/** Takes in the rows of one chain, newest first, in any number of pieces. */
export class ChainCheck {
  readonly #chain: string;
  #rows = 0;
  #headHash: string | null = null;
  #problem: string | null = null;
  /** What the row before must be. */
  #expected: { readonly sequence: number; readonly hash: string } | null = null;

  constructor(chain: string) {
    this.#chain = chain;
  }

  add(row: Json): void {
    const sequence = Number(row['sequence']);
    const hash = String(row['hash']);
    this.#rows++;
    this.#headHash ??= hash;
    this.#problem ??= this.#problemOf(row, sequence, hash);
    this.#expected = { sequence: sequence - 1, hash: String(row['previous_hash']) };
  }

  verdict(): ChainVerdict {
    const rest = this.#expected;
    if (rest !== null && rest.sequence > 0) this.#problem ??= `rows 1 to ${rest.sequence} are missing`;
    else if (rest !== null && rest.hash !== firstPreviousHash)
      this.#problem ??= 'row 1 is not the first of a chain';
    return { chain: this.#chain, rows: this.#rows, head_hash: this.#headHash, problem: this.#problem };
  }

  #problemOf(row: Json, sequence: number, hash: string): string | null {
    const expected = this.#expected;
    if (expected !== null && sequence !== expected.sequence) {
      return `row ${expected.sequence} is missing; row ${sequence} stands in its place`;
    }
    if (expected !== null && hash !== expected.hash) {
      return `row ${sequence + 1} does not follow row ${sequence}`;
    }
    const computed = auditHash({
      tenantId: String(row['tenant_id']),
      sequence,
      at: String(row['occurred_at']),
      actor: String(row['actor']),
      action: String(row['action']),
      target: String(row['target']),
      details: row['details'],
      previousHash: String(row['previous_hash']),
    });
    return computed === hash ? null : `the content of row ${sequence} does not give its hash`;
  }
}
