// The floor of B4: bare SQL doing the ledger and event inserts of the pipeline, under row-level security, over two
// connections, with everything made ready before the clock starts. No log, no judging, no counts, no positions.
import { Client } from 'pg';
import { SeededRandom } from '../../src/cli/loadgen/random.ts';
import { eventIdOf, eventJson, idPrefixOf } from '../../src/cli/loadgen/request-template.ts';

const ledgerSql = `INSERT INTO processed_event_ids (tenant_id, event_id, event_source, epoch, partition, record_offset)
  SELECT t, e, '', 1, p, o FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) AS r(t, e, p, o)
  ON CONFLICT DO NOTHING`;

const columns = `tenant_id text, event_id text, received_at timestamptz, event_type text, event_time timestamptz,
  schema_version text, subject text, source text, idempotency_key text, request_id text, protocol text, attempt int,
  trace_id text, enrichment jsonb, data jsonb`;
const names = columns.replace(/ (text|timestamptz|int|jsonb)\b/g, '');
const eventSql = `INSERT INTO events (${names}, epoch, partition, record_offset, bytes)
  SELECT ${names}, 1, p, o, 900 FROM ROWS FROM (
    jsonb_to_recordset($1::jsonb) AS (${columns}), unnest($2::int[]), unnest($3::bigint[])
  ) AS r(${names}, p, o)`;

interface Batch {
  readonly tenants: string;
  readonly ledger: readonly unknown[];
  readonly events: readonly unknown[];
}

export interface SqlFloorOptions {
  /** As pulse_app, on a migrated database. */
  readonly appUrl: string;
  readonly events: number;
  readonly batch: number;
  readonly eventBytes: number;
  readonly connections: number;
  readonly tenants: number;
}

/** Inserts the events and returns how many a second. */
export async function measureSqlFloor(options: SqlFloorOptions): Promise<number> {
  const batches = makeBatches(options);
  const clients = Array.from(
    { length: options.connections },
    () => new Client({ connectionString: options.appUrl }),
  );
  try {
    for (const client of clients) await client.connect();
    await clients[0]?.query('SELECT pulse_store_make_partition($1::date)', [
      new Date().toISOString().slice(0, 10),
    ]);
    const started = performance.now();
    let next = 0;
    const work = async (client: Client): Promise<void> => {
      for (let batch = batches[next++]; batch !== undefined; batch = batches[next++]) {
        await transaction(client, batch.tenants, ledgerSql, batch.ledger);
        await transaction(client, batch.tenants, eventSql, batch.events);
      }
    };
    await Promise.all(clients.map(work));
    return (options.events * 1000) / (performance.now() - started);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

async function transaction(
  client: Client,
  tenants: string,
  sql: string,
  values: readonly unknown[],
): Promise<void> {
  await client.query('BEGIN');
  await client.query("SELECT set_config('pulse.tenants', $1, true)", [tenants]);
  await client.query({ text: sql, values: [...values], name: sql === ledgerSql ? 'ledger' : 'events' });
  await client.query('COMMIT');
}

function makeBatches(options: SqlFloorOptions): readonly Batch[] {
  const random = new SeededRandom(1);
  const prefix = idPrefixOf((Math.random() * 2 ** 32) >>> 0);
  const batches: Batch[] = [];
  for (let first = 0; first < options.events; first += options.batch) {
    const count = Math.min(options.batch, options.events - first);
    batches.push(makeBatch(options, first, count, prefix, random));
  }
  return batches;
}

function makeBatch(
  options: SqlFloorOptions,
  first: number,
  count: number,
  prefix: string,
  random: SeededRandom,
): Batch {
  const time = new Date().toISOString();
  const tenants: string[] = [];
  const ids: string[] = [];
  const partitions: number[] = [];
  const offsets: number[] = [];
  const rows: string[] = [];
  for (let i = first; i < first + count; i++) {
    const tenant = `load_${i % options.tenants}`;
    const id = eventIdOf(prefix, i);
    tenants.push(tenant);
    ids.push(id);
    partitions.push(i % 6);
    offsets.push(i);
    rows.push(envelope(tenant, eventJson({ id, time, bytes: options.eventBytes, random }), time));
  }
  // The binary form of jsonb is a version byte and the text: sent as it is, without another encoding.
  const json = Buffer.concat([Buffer.from([1]), Buffer.from(`[${rows.join(',')}]`)]);
  return {
    tenants: [...new Set(tenants)].join(','),
    ledger: [tenants, ids, partitions, offsets],
    events: [json, partitions, offsets],
  };
}

/** The canonical envelope, as long as `process` makes it. */
function envelope(tenant: string, event: string, time: string): string {
  const { event_id, event_type, event_time, data } = JSON.parse(event) as Record<string, unknown>;
  return JSON.stringify({
    event_id,
    tenant_id: tenant,
    event_type,
    event_time,
    received_at: time,
    schema_version: null,
    subject: null,
    source: null,
    idempotency_key: null,
    request_id: `019a9f3c-0000-7000-8000-${String(event_id).slice(-12)}`,
    protocol: 'native',
    attempt: 1,
    trace_id: null,
    enrichment: { delay_ms: 12, client_address: '127.0.0.0' },
    data,
  });
}
