// Removes old rows in small batches, so that neither a lock nor a transaction grows long.
import type { Database } from '../database/types.ts';

const batchRows = 5_000;
/** Rounds end after so many batches: a backlog is worked off over several rounds. */
const batchesPerRoundMax = 200;
/** Tenants bound at once: row-level security compares each row with all of them. */
const tenantsPerBatch = 50;

/** A table and its column of age. Names of ours: they cannot be parameters. */
export interface AgingTable {
  readonly table: string;
  readonly column: string;
  /** SQL that a row must also meet; none by default. */
  readonly condition?: string;
}

/**
 * Removes rows whose column is at or before a time.
 * Guarantees: ends after a bounded number of batches, or when the signal aborts; the rest waits for the next round.
 * Returns the rows removed.
 */
export async function removeUpTo(
  database: Database,
  tenantIds: readonly string[],
  tables: readonly AgingTable[],
  timeMs: number,
  signal?: AbortSignal,
): Promise<number> {
  let removed = 0;
  let batches = 0;
  for (let start = 0; start < tenantIds.length; start += tenantsPerBatch) {
    const bound = tenantIds.slice(start, start + tenantsPerBatch);
    for (const { table, column, condition = 'true' } of tables) {
      const sql = `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ${table} WHERE ${column} <= $1 AND ${condition} LIMIT $2))`;
      for (let count = batchRows; count === batchRows; batches++) {
        if (batches >= batchesPerRoundMax || signal?.aborted === true) return removed;
        const values = [new Date(timeMs), batchRows];
        const result = await database.withTenants(bound, (client) => client.query(sql, values));
        count = result.rowCount;
        removed += count;
      }
    }
  }
  return removed;
}
