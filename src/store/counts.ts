// Counts of stored events, by minute of receipt: for the reconciliation (stage_counts) and the metrics (event_counts).
import type { StageCount } from '../database/counts.ts';
import type { Queryable } from '../database/types.ts';
import type { Row } from './batch.ts';
import { stage } from './stage.ts';

/** A row of `event_counts`. */
export interface EventCount {
  readonly tenantId: string;
  readonly bucketMinutes: 1 | 60;
  /** Beginning of the bucket, ISO 8601 UTC. */
  readonly bucket: string;
  readonly eventType: string;
  readonly topic: string;
  readonly partition: number;
  readonly events: number;
  readonly bytes: number;
}

/** Stands for the types of a tenant that are too many to be counted one by one. */
export const otherTypes = '(other)';

// A client chooses its event types; without a bound each event could make its own rows of counts.
const typesPerTenantMax = 256;

/**
 * Counts rows by tenant, minute, type, topic and partition, and again by hour.
 * Guarantees: sorted by key, so that two transactions never lock counts in opposite order; at most 256 types of a
 * tenant and batch are told apart, the others are counted together as `(other)`.
 */
export function countEvents(rows: readonly Row[]): EventCount[] {
  const counts = new Map<string, Writable<EventCount>>();
  const typesByTenant = new Map<string, Set<string>>();
  for (const row of rows) {
    const eventType = boundedType(row, typesByTenant);
    add(counts, row, eventType, 1, `${row.receivedAt.slice(0, 16)}:00.000Z`);
  }
  for (const minute of [...counts.values()]) {
    const bucket = `${minute.bucket.slice(0, 13)}:00:00.000Z`;
    const key = keyOf(minute, minute.eventType, 60, bucket);
    const hour = counts.get(key);
    if (hour === undefined) counts.set(key, { ...minute, bucketMinutes: 60, bucket });
    else {
      hour.events += minute.events;
      hour.bytes += minute.bytes;
    }
  }
  return [...counts.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count);
}

function add(
  counts: Map<string, Writable<EventCount>>,
  row: Row,
  eventType: string,
  bucketMinutes: 1 | 60,
  bucket: string,
): void {
  const key = keyOf(row, eventType, bucketMinutes, bucket);
  const count = counts.get(key);
  if (count === undefined) {
    const { tenantId, topic, partition } = row;
    counts.set(key, {
      tenantId,
      bucketMinutes,
      bucket,
      eventType,
      topic,
      partition,
      events: 1,
      bytes: row.value.length,
    });
  } else {
    count.events++;
    count.bytes += row.value.length;
  }
}

function keyOf(
  place: Pick<Row, 'tenantId' | 'topic' | 'partition'>,
  eventType: string,
  bucketMinutes: number,
  bucket: string,
): string {
  // The type comes last: it alone may hold a line feed.
  return `${place.tenantId}\n${bucketMinutes}\n${bucket}\n${place.topic}\n${place.partition}\n${eventType}`;
}

function boundedType(row: Row, typesByTenant: Map<string, Set<string>>): string {
  let types = typesByTenant.get(row.tenantId);
  if (types === undefined) {
    types = new Set();
    typesByTenant.set(row.tenantId, types);
  }
  if (types.has(row.eventType)) return row.eventType;
  if (types.size >= typesPerTenantMax) return otherTypes;
  types.add(row.eventType);
  return row.eventType;
}

/** Adds to `event_counts`; the caller's transaction is bound to the tenants. */
export async function addEventCounts(client: Queryable, counts: readonly EventCount[]): Promise<void> {
  if (counts.length === 0) return;
  await client.query(
    `INSERT INTO event_counts AS c (tenant_id, bucket_minutes, bucket, event_type, topic, partition, events, bytes)
     SELECT * FROM unnest($1::text[], $2::smallint[], $3::timestamptz[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::bigint[])
     ON CONFLICT (tenant_id, bucket_minutes, bucket, event_type, topic, partition)
     DO UPDATE SET events = c.events + excluded.events, bytes = c.bytes + excluded.bytes`,
    [
      counts.map((count) => count.tenantId),
      counts.map((count) => count.bucketMinutes),
      counts.map((count) => count.bucket),
      counts.map((count) => count.eventType),
      counts.map((count) => count.topic),
      counts.map((count) => count.partition),
      counts.map((count) => count.events),
      counts.map((count) => count.bytes),
    ],
    { name: 'store_add_event_counts' },
  );
}

/** Sums rows by tenant, minute, topic and partition as one outcome of the store. */
export function countStage(rows: readonly Row[], outcome: 'stored' | 'parked'): StageCount[] {
  const counts = new Map<string, Writable<StageCount>>();
  for (const { tenantId, receivedAt, topic, partition, value } of rows) {
    const minute = receivedAt.slice(0, 16);
    const key = `${tenantId}\n${minute}\n${topic}\n${partition}`;
    const count = counts.get(key);
    if (count === undefined) {
      const receivedMinute = `${minute}:00.000Z`;
      const bytes = value.length;
      counts.set(key, { tenantId, receivedMinute, stage, outcome, topic, partition, events: 1, bytes });
    } else {
      count.events++;
      count.bytes += value.length;
    }
  }
  return [...counts.values()];
}

type Writable<Value> = { -readonly [Key in keyof Value]: Value[Key] };
