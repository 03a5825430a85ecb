// Every table with rows of tenants, found in the catalogue and filled with rows of two tenants, for probes of row-level security.
import assert from 'node:assert/strict';
import { Client, DatabaseError } from 'pg';
import type { Queryable } from '../../src/database/types.ts';
import { type TestDatabase, type TestScope, testDatabase } from '../support/database.ts';

export const victim = 'alpha';
export const stranger = 'beta';
/** Stands in every text of the victim's rows. */
export const canary = 'canary-of-alpha';

interface Column {
  readonly name: string;
  readonly type: string;
  readonly filled: boolean;
}

export interface TenantTable {
  readonly name: string;
  readonly isPartition: boolean;
  readonly columns: readonly Column[];
  readonly keys: readonly string[];
}

export interface Probed extends TestDatabase {
  readonly owner: Client;
  /** All tenant tables, partitions among them. */
  readonly tables: readonly TenantTable[];
  /** The tables that are no partition. */
  readonly roots: readonly TenantTable[];
}

/** Rows of each tenant; the victim has one more, whose key is nobody else's. */
export const rowsOfEach = 40;

/** Values that a CHECK asks for; everything else is made by type. */
const particular: Readonly<Record<string, unknown>> = {
  'tenants.topics': 'shared',
  'tenants.client_address_policy': 'keep',
  'api_keys.scopes': ['read'],
  'repair_attempts.outcome': 'valid',
};

function madeValue(table: string, { name, type }: Column, tenantId: string, n: number): unknown {
  const fixed = particular[`${table}.${name}`];
  if (fixed !== undefined) return fixed;
  const text = tenantId === victim ? `${canary}-${n}` : `own-${n}`;
  if (name === 'tenant_id') return tenantId;
  // Into the partition of the day and into that of all other days.
  if (name === 'received_at') return n % 2 === 0 ? new Date() : new Date('2019-05-05T00:00:00Z');
  if (type === 'text') return text;
  if (type === 'jsonb') return JSON.stringify({ text });
  if (type === 'bytea') return Buffer.alloc(32, text);
  if (type === 'uuid')
    return `00000000-0000-7000-8000-${String(n).padStart(12, tenantId === victim ? 'a' : 'b')}`;
  if (type.startsWith('timestamp')) return new Date(1_700_000_000_000 + n * 60_000);
  assert.match(type, /^(integer|bigint|smallint)$/, `${table}.${name} has a type that this test cannot fill`);
  return n;
}

/** An INSERT of row `n` of a tenant, without a clause for conflicts. */
export function insertOf(
  table: TenantTable,
  tenantId: string,
  n: number,
): { text: string; values: unknown[] } {
  const columns = table.columns.filter((column) => column.filled);
  const root = table.name.replace(/_(default|\d+)$/, '');
  return {
    text: `INSERT INTO ${table.name} (${columns.map((column) => column.name).join(', ')})
           VALUES (${columns.map((_, i) => `$${i + 1}`).join(', ')})`,
    values: columns.map((column) => madeValue(root, column, tenantId, n)),
  };
}

/** A database whose every tenant table holds rows of `victim` and `stranger`. */
export async function probedDatabase(t: TestScope): Promise<Probed> {
  const made = await testDatabase(t);
  await made.database.query("SELECT pulse_store_make_partition((now() AT TIME ZONE 'UTC')::date)");
  const owner = new Client({ connectionString: made.ownerUrl });
  await owner.connect();
  t.after(() => owner.end());
  const tables = await findTables(made.database);
  const roots = tables.filter((table) => !table.isPartition);
  await owner.query("SELECT set_config('pulse.tenants', $1, false)", [`${victim},${stranger}`]);
  // Keys refer to their tenant, so tenants come first.
  for (const table of [...roots].sort(
    (a, b) => Number(b.name === 'tenants') - Number(a.name === 'tenants'),
  )) {
    for (const tenantId of [victim, stranger]) {
      for (let n = 1; n <= rowsOfEach + Number(tenantId === victim); n++) {
        const { text, values } = insertOf(table, tenantId, n);
        await owner.query(`${text} ON CONFLICT DO NOTHING`, values);
      }
    }
  }
  await owner.query('ANALYZE');
  return { ...made, owner, tables, roots };
}

async function findTables(database: Pick<Queryable, 'query'>): Promise<readonly TenantTable[]> {
  const { rows } = await database.query<{
    name: string;
    is_partition: boolean;
    columns: Column[];
    keys: string[];
  }>(`
    SELECT c.oid::regclass::text AS name, c.relispartition AS is_partition,
      (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, NULL), 'filled', NOT a.atthasdef) ORDER BY a.attnum)
       FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
      (SELECT jsonb_agg(a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
       WHERE i.indrelid = c.oid AND i.indisprimary) AS keys
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
    ORDER BY 1`);
  return rows.map((row) => ({
    name: row.name,
    isPartition: row.is_partition,
    columns: row.columns,
    keys: row.keys,
  }));
}

/** The SQLSTATE of the failure of `work`; null when it succeeds. */
export async function failure(work: Promise<unknown>): Promise<DatabaseError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof DatabaseError) return error;
    throw error;
  }
}

/** Runs one statement as a tenant in a transaction that is rolled back; its result, or the error of Postgres. */
export async function attempt(
  { database }: Pick<Probed, 'database'>,
  tenantId: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<{
  readonly rows: Record<string, unknown>[];
  readonly rowCount: number;
  readonly error: DatabaseError | null;
}> {
  const undo = new Error('undo');
  let result: { rows: Record<string, unknown>[]; rowCount: number } = { rows: [], rowCount: 0 };
  try {
    await database.withTenant(tenantId, async (client) => {
      result = await client.query(text, values);
      throw undo;
    });
  } catch (error) {
    if (error instanceof DatabaseError) return { rows: [], rowCount: 0, error };
    if (error !== undo) throw error;
  }
  return { ...result, error: null };
}
