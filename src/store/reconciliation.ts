// Whether accepted = stored + duplicates + dead letters + dropped + in flight, and why what is in flight still is.
import type { Database, Queryable } from '../database/types.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import type { TopicNames } from '../tenancy/types.ts';
import { read, type StoreRouteDependencies } from './access.ts';
import { stage as storeStage } from './stage.ts';

/** Sums of one minute or of a range. */
interface Sums {
  readonly accepted: number;
  readonly stored: number;
  readonly duplicates: number;
  readonly dead_letters: number;
  readonly dropped: number;
  /** accepted − all others; `parked` is a part of it. */
  readonly in_flight: number;
  /** Refused by Postgres and kept aside. */
  readonly parked: number;
}

export interface Reconciliation extends Sums {
  /** Nothing is in flight, or the positions of the stages say where it is. False means that events are missing. */
  readonly closed: boolean;
  /** Records in the raw topics that process has not judged yet; of every tenant that shares them, at any time. */
  readonly unprocessed: number;
  /** The newest minutes with any event, oldest first; at most 1,440. */
  readonly minutes: readonly (Sums & { readonly minute: string })[];
}

const minutesMax = 1_440;

/** The reconciliation of some tenants, whose events are in `sets`, over received minutes in [from, to). */
export async function reconcile(
  dependencies: StoreRouteDependencies,
  tenantIds: readonly string[],
  sets: readonly TopicNames[],
  range: { readonly fromMs: number; readonly toMs: number | null },
): Promise<Reconciliation> {
  const { database, log } = dependencies;
  // The order of these reads is what makes `closed` true to its word: positions of the store before the counts, places
  // of process and ends of the log after them. An event that moves meanwhile then shows as on its way, never as lost.
  const stored = await readOffsets(database, storeStage);
  const rows = await read(dependencies, 'reconciliation', tenantIds, (client) =>
    readCounts(client, tenantIds, range),
  );
  const places = await Promise.all(sets.map((names) => placesOf(names, { database, log, stored })));
  const sums = total(rows.map((row) => row.sums));
  const awaiting = sums.in_flight - sums.parked;
  const isExplained = awaiting === 0 || (awaiting > 0 && places.some((place) => place.isMoving));
  return {
    ...sums,
    closed: isExplained && rows.every(({ valid, sums: one }) => valid - one.stored === one.in_flight),
    unprocessed: places.reduce((count, place) => count + place.unprocessed, 0),
    minutes: rows.slice(-minutesMax).map(({ minute, sums: one }) => ({ minute, ...one })),
  };
}

interface MinuteRow {
  readonly minute: string;
  readonly valid: number;
  readonly sums: Sums;
}

/** One statement, so one snapshot: an event counted as stored is counted as accepted too. */
async function readCounts(
  client: Queryable,
  tenantIds: readonly string[],
  range: { readonly fromMs: number; readonly toMs: number | null },
): Promise<readonly MinuteRow[]> {
  const { rows } = await client.query<Record<string, number> & { minute: Date }>(
    `SELECT received_minute AS minute,
            ${outcome('process', 'accepted')} AS accepted, ${outcome('process', 'valid')} AS valid,
            ${outcome('process', 'duplicate')} AS duplicates, ${outcome('process', 'dead_letter')} AS dead_letters,
            ${outcome('process', 'dropped')} AS dropped, ${outcome('store', 'stored')} AS stored, ${outcome('store', 'parked')} AS parked
     FROM stage_counts
     WHERE tenant_id = ANY ($1::text[]) AND received_minute >= $2::timestamptz
       AND ($3::timestamptz IS NULL OR received_minute < $3::timestamptz)
     GROUP BY 1 ORDER BY 1`,
    [
      tenantIds,
      new Date(range.fromMs).toISOString(),
      range.toMs === null ? null : new Date(range.toMs).toISOString(),
    ],
  );
  return rows.map((row) => {
    const {
      accepted = 0,
      valid = 0,
      duplicates = 0,
      dead_letters = 0,
      dropped = 0,
      stored = 0,
      parked = 0,
    } = row;
    const in_flight = accepted - stored - duplicates - dead_letters - dropped;
    const sums = { accepted, stored, duplicates, dead_letters, dropped, in_flight, parked };
    return { minute: row.minute.toISOString(), valid, sums };
  });
}

function outcome(stage: string, name: string): string {
  return `coalesce(sum(events) FILTER (WHERE stage = '${stage}' AND outcome = '${name}'), 0)::bigint`;
}

function total(rows: readonly Sums[]): Sums {
  const sum = (key: keyof Sums): number => rows.reduce((value, row) => value + row[key], 0);
  return {
    accepted: sum('accepted'),
    stored: sum('stored'),
    duplicates: sum('duplicates'),
    dead_letters: sum('dead_letters'),
    dropped: sum('dropped'),
    in_flight: sum('in_flight'),
    parked: sum('parked'),
  };
}

interface Offsets {
  readonly topic: string;
  readonly incarnation: string;
  readonly partition: number;
  readonly source_offset: number;
  readonly log_offset: number;
}

/** A stage's positions with the raw topic that each belongs to. */
async function readOffsets(database: Database, stage: string): Promise<readonly Offsets[]> {
  const { rows } = await database.query<Offsets>(
    `SELECT topic, incarnation, partition, source_offset, log_offset
     FROM stage_positions JOIN log_epochs USING (epoch) WHERE stage = $1`,
    [stage],
  );
  return rows;
}

interface Places {
  readonly unprocessed: number;
  /** True while records are between two stages. */
  readonly isMoving: boolean;
}

async function placesOf(
  names: TopicNames,
  context: { readonly database: Database; readonly log: EventLog; readonly stored: readonly Offsets[] },
): Promise<Places> {
  const { database, log, stored } = context;
  const raw = await log.describeTopic(names.raw);
  if (raw === null || (await log.describeTopic(names.valid)) === null)
    return { unprocessed: 0, isMoving: false };
  const emitted = await log.lag('process', names.raw);
  const claimed = await readOffsets(database, 'process');
  const isHere = (partition: number) => (row: Offsets) =>
    row.topic === raw.topic && row.incarnation === raw.incarnation && row.partition === partition;
  let unprocessed = 0;
  let isMoving = false;
  for (const { partition, earliest, end } of await log.bounds(names.raw)) {
    const claimedThrough = claimed.find(isHere(partition))?.source_offset ?? -1;
    unprocessed += Math.max(0, end - Math.max(claimedThrough + 1, earliest));
    if ((emitted[partition]?.committed ?? 0) <= claimedThrough) isMoving = true;
  }
  for (const { partition, end } of await log.bounds(names.valid)) {
    if ((stored.find(isHere(partition))?.log_offset ?? 0) < end) isMoving = true;
  }
  return { unprocessed, isMoving };
}
