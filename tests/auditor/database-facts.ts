// What Postgres holds, read by the owner of its tables in one snapshot.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { meaningDigest } from './content.ts';

/** A row that names a raw position as `epoch.partition.offset`. */
interface StoredRow {
  readonly tenantId: string;
  readonly eventId: string;
  readonly position: string;
  readonly minuteMs: number;
  readonly bytes: number;
  readonly dataDigest: string | null;
}

interface DeadLetterRow {
  readonly tenantId: string;
  readonly position: string;
  readonly stage: string;
  readonly digest: string;
}

interface LedgerRow {
  readonly tenantId: string;
  readonly eventId: string;
  readonly source: string;
  readonly position: string;
}

export interface PositionRow {
  readonly stage: string;
  readonly epoch: number;
  readonly partition: number;
  readonly sourceOffset: number;
  readonly logOffset: number;
}

/** A row of `stage_counts`; `key` names everything but the numbers. */
export interface CountRow {
  readonly key: string;
  readonly events: number;
  readonly bytes: number;
}

/** Everything the checks need of the database. */
export interface DatabaseFacts {
  /** Epoch by `topic incarnation`. */
  readonly epochs: ReadonlyMap<string, number>;
  readonly events: readonly StoredRow[];
  readonly parked: readonly { readonly tenantId: string; readonly position: string }[];
  readonly deadLetters: readonly DeadLetterRow[];
  readonly ledger: readonly LedgerRow[];
  readonly positions: readonly PositionRow[];
  readonly counts: readonly CountRow[];
  /** Sums of `event_counts`, by bucket length; `key` is tenant, bucket, topic and partition. */
  readonly eventCounts: readonly (CountRow & { readonly bucketMinutes: number })[];
}

/** The key of a count: one text for one cell of the table. */
export function countKey(
  tenantId: string,
  minuteMs: number,
  stage: string,
  outcome: string,
  topic: string,
  partition: number,
): string {
  return `${tenantId} ${new Date(minuteMs).toISOString()} ${stage}/${outcome} ${topic}/${partition}`;
}

/** The owner's address of the embedded server, from the files of the data directory. It must be running. */
export function embeddedOwnerUrl(dataDirectory: string): string {
  const secrets = JSON.parse(readFileSync(join(dataDirectory, 'postgres-secrets.json'), 'utf8')) as {
    ownerPassword: string;
  };
  const port = readFileSync(join(dataDirectory, 'postgres', 'postmaster.pid'), 'utf8')
    .split('\n')[3]
    ?.trim();
  return `postgres://pulse:${secrets.ownerPassword}@127.0.0.1:${port}/pulse`;
}

/** Reads everything in one REPEATABLE READ snapshot. `plantedSql` takes effect in it alone: nothing is ever committed. */
export async function readDatabase(ownerUrl: string, plantedSql?: string): Promise<DatabaseFacts> {
  const client = new Client({ connectionString: ownerUrl, connectionTimeoutMillis: 10_000 });
  client.on('error', () => {}); // The statement in hand fails with it.
  await client.connect();
  try {
    await client.query(
      `BEGIN ISOLATION LEVEL REPEATABLE READ ${plantedSql === undefined ? 'READ ONLY' : ''}`,
    );
    // An outside owner is no superuser, and forced row-level security binds it like everybody.
    await client.query(
      `SELECT set_config('pulse.tenants', (SELECT string_agg(tenant_id, ',') || ',_platform' FROM tenants), true)`,
    );
    if (plantedSql !== undefined) {
      const { rowCount } = await client.query(plantedSql);
      if (rowCount === 0) throw new Error(`nothing was planted by ${plantedSql}`);
    }
    return {
      epochs: await readEpochs(client),
      events: await readEvents(client),
      parked: (await query(client, `SELECT tenant_id, ${position} FROM store_parked`)).map((row) => ({
        tenantId: row['tenant_id'] as string,
        position: row['position'] as string,
      })),
      deadLetters: await readDeadLetters(client),
      ledger: await readLedger(client),
      positions: await readPositions(client),
      counts: await readCounts(client),
      eventCounts: await readEventCounts(client),
    };
  } finally {
    await client.end();
  }
}

const position = `epoch || '.' || partition || '.' || record_offset AS position`;

async function query(client: Client, text: string): Promise<Record<string, unknown>[]> {
  return (await client.query<Record<string, unknown>>(text)).rows;
}

async function readEpochs(client: Client): Promise<Map<string, number>> {
  const rows = await query(client, 'SELECT epoch, topic, incarnation FROM log_epochs');
  return new Map(rows.map((row) => [`${row['topic']} ${row['incarnation']}`, row['epoch'] as number]));
}

/** Through a cursor: the data of a long run does not fit into one answer. */
async function readEvents(client: Client): Promise<StoredRow[]> {
  const events: StoredRow[] = [];
  await client.query(
    `DECLARE audited CURSOR FOR SELECT tenant_id, event_id, ${position}, received_at, bytes, protocol, data::text FROM events`,
  );
  for (;;) {
    const rows = await query(client, 'FETCH 5000 FROM audited');
    if (rows.length === 0) break;
    for (const row of rows) {
      const data = row['data'] as string | null;
      events.push({
        tenantId: row['tenant_id'] as string,
        eventId: row['event_id'] as string,
        position: row['position'] as string,
        minuteMs: Math.floor((row['received_at'] as Date).getTime() / 60_000) * 60_000,
        bytes: row['bytes'] as number,
        dataDigest: data === null ? null : meaningDigest(JSON.parse(data)),
      });
    }
  }
  await client.query('CLOSE audited');
  return events;
}

async function readDeadLetters(client: Client): Promise<DeadLetterRow[]> {
  const rows = await query(
    client,
    `SELECT tenant_id, ${position}, stage, rtrim(translate(encode(sha256(payload), 'base64'), '+/', '-_'), '=') AS digest FROM dead_letters`,
  );
  return rows.map((row) => ({
    tenantId: row['tenant_id'] as string,
    position: row['position'] as string,
    stage: row['stage'] as string,
    digest: row['digest'] as string,
  }));
}

async function readLedger(client: Client): Promise<LedgerRow[]> {
  const rows = await query(
    client,
    `SELECT tenant_id, event_id, event_source, ${position} FROM processed_event_ids`,
  );
  return rows.map((row) => ({
    tenantId: row['tenant_id'] as string,
    eventId: row['event_id'] as string,
    source: row['event_source'] as string,
    position: row['position'] as string,
  }));
}

async function readPositions(client: Client): Promise<PositionRow[]> {
  const rows = await query(
    client,
    'SELECT stage, epoch, partition, source_offset, log_offset FROM stage_positions ORDER BY 1, 2, 3',
  );
  return rows.map((row) => ({
    stage: row['stage'] as string,
    epoch: row['epoch'] as number,
    partition: row['partition'] as number,
    sourceOffset: Number(row['source_offset']),
    logOffset: Number(row['log_offset']),
  }));
}

async function readCounts(client: Client): Promise<CountRow[]> {
  const rows = await query(client, 'SELECT * FROM stage_counts');
  return rows.map((row) => ({
    key: countKey(
      row['tenant_id'] as string,
      (row['received_minute'] as Date).getTime(),
      row['stage'] as string,
      row['outcome'] as string,
      row['topic'] as string,
      row['partition'] as number,
    ),
    events: Number(row['events']),
    bytes: Number(row['bytes']),
  }));
}

async function readEventCounts(client: Client): Promise<DatabaseFacts['eventCounts']> {
  const rows = await query(
    client,
    `SELECT tenant_id, bucket_minutes, bucket, topic, partition, sum(events) AS events, sum(bytes) AS bytes
     FROM event_counts GROUP BY 1, 2, 3, 4, 5`,
  );
  return rows.map((row) => {
    const bucketMinutes = row['bucket_minutes'] as number;
    const bucketMs = (row['bucket'] as Date).getTime();
    const tenantId = row['tenant_id'] as string;
    return {
      bucketMinutes,
      key: countKey(
        tenantId,
        bucketMs,
        'events',
        `${bucketMinutes} min`,
        row['topic'] as string,
        row['partition'] as number,
      ),
      events: Number(row['events']),
      bytes: Number(row['bytes']),
    };
  });
}
