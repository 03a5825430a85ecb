// The last step before routing: who owns each event id? One short transaction answers for a whole micro-batch, counts
// its outcomes and moves the position. A dead letter never claims, so that its repair can win later.

import { createHash } from 'node:crypto';
import { failpoint } from '../../core/failpoint.ts';
import { formatPosition, type Position } from '../../core/position.ts';
import { addStageCounts, type StageCount } from '../../database/counts.ts';
import { advancePosition, type StageOffsets } from '../../database/positions.ts';
import type { Database, Queryable } from '../../database/types.ts';
import { processError } from '../errors.ts';
import { findRepeats, settleAttempts, type Verdict } from './attempts.ts';
import type { Judged, JudgedEvent } from './judge.ts';
import { processStage } from './route.ts';

/** The records of one raw partition that are to be claimed together, in order. */
export interface ClaimPart {
  /** The raw topic. */
  readonly topic: string;
  readonly epoch: number;
  readonly partition: number;
  readonly judged: readonly Judged[];
  /** The partition's position as this owner knows it. */
  readonly expected: StageOffsets;
  /** The last offset of the part, whether its record is in `judged` or not. */
  readonly lastOffset: number;
}

/** What a claim has settled. */
export interface Claimed {
  /** Events that own their id; all others are duplicates. */
  readonly winners: ReadonlySet<JudgedEvent>;
  /** Attempts that another record has made already: they are routed nowhere and counted nowhere. */
  readonly repeats: ReadonlySet<Judged>;
  /** The position of each part now, in order of the parts. */
  readonly positions: readonly StageOffsets[];
}

/**
 * Claims the event ids of several partitions at once.
 * Guarantees: an event wins iff the ledger holds its own position, so asking again gives the same answer; of equal ids in one
 * batch the first wins. Ids are locked in sorted order, so that two batches cannot deadlock. Counts cover only records beyond the
 * position, and change with it or not at all.
 * Errors: PULSE_DATABASE_POSITION_FENCED when another owner moved a position; nothing is claimed then.
 * PULSE_DATABASE_COMMIT_UNKNOWN: read the position again, then claim again.
 */
export async function claim(database: Database, parts: readonly ClaimPart[]): Promise<Claimed> {
  const tenantIds = new Set<string>();
  for (const part of parts) for (const { subject } of part.judged) tenantIds.add(subject.tenantId);
  const positions = parts.map(nextOffsets);
  const settled = await database.withTenants([...tenantIds], async (client) => {
    const repeats = await findRepeats(client, allJudged(parts));
    const { candidates, entries } = candidatesOf(parts, repeats);
    await settle(client, entries);
    const winners = new Set<JudgedEvent>();
    for (const { event, entry } of candidates) if (owns(event, entry)) winners.add(event);
    const verdictOf = (one: Judged): Verdict => outcomeOf(one, winners, repeats);
    const moved = await settleAttempts(client, newJudged(parts, repeats), verdictOf);
    const writes: Promise<unknown>[] = [addStageCounts(client, countsOf(parts, verdictOf, moved))];
    for (const [index, part] of parts.entries()) {
      const next = positions[index] as StageOffsets;
      if (next === part.expected) continue;
      const { epoch, partition, expected } = part;
      writes.push(advancePosition(client, { stage: processStage, epoch, partition, expected, next }));
    }
    // Sent without awaiting each other, they share a round trip.
    await Promise.all(writes);
    failpoint('process.claim_written');
    return { winners, repeats };
  });
  return { ...settled, positions };
}

function* allJudged(parts: readonly ClaimPart[]): Iterable<Judged> {
  for (const part of parts) yield* part.judged;
}

/** Records beyond their part's position that are no repeats: those whose effect was not written before. */
function* newJudged(parts: readonly ClaimPart[], repeats: ReadonlySet<Judged>): Iterable<Judged> {
  for (const { judged, expected } of parts) {
    for (const one of judged) {
      if (one.subject.position.offset > expected.sourceOffset && !repeats.has(one)) yield one;
    }
  }
}

/** Writes owners that are known from elsewhere; existing ones stay. For a database that is older than the log. */
export async function restoreOwners(database: Database, owners: readonly LedgerEntry[]): Promise<void> {
  const entries = owners.map((owner) => ({ ...owner, key: keyOf(owner), owner: null })).sort(byKey);
  const tenantIds = new Set(entries.map((entry) => entry.tenantId));
  await database.withTenants([...tenantIds], (client) => insert(client, entries));
}

/** A row of the ledger. */
export interface LedgerEntry {
  readonly tenantId: string;
  readonly eventId: string;
  readonly eventSource: string;
  readonly position: Position;
}

interface Entry extends LedgerEntry {
  readonly key: string;
  /** Who owns the id; null until it is settled. */
  owner: Position | null;
}

// A B-tree entry of Postgres holds 2,704 bytes; id and tenant may take 1,600 of them.
const sourceBytesMax = 200;

/** The source as the ledger holds it: '' for native events, a hash when it is long. */
export function ledgerSource(identitySource: string): string {
  if (identitySource.length <= sourceBytesMax && Buffer.byteLength(identitySource) <= sourceBytesMax) {
    return identitySource;
  }
  return `sha256:${createHash('sha256').update(identitySource).digest('base64url')}`;
}

/** Unique for (tenant, source, id): neither a slug nor a checked source can hold the separators. */
function keyOf(entry: Omit<LedgerEntry, 'position'>): string {
  return `${entry.tenantId}\n${entry.eventSource}\0${entry.eventId}`;
}

function byKey(a: Entry, b: Entry): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

interface Candidate {
  readonly event: JudgedEvent;
  readonly entry: Entry;
}

/** Every event with the entry of its id; events of one id share that of the first. `entries` are sorted. */
function candidatesOf(
  parts: readonly ClaimPart[],
  repeats: ReadonlySet<Judged>,
): {
  readonly candidates: readonly Candidate[];
  readonly entries: readonly Entry[];
} {
  const candidates: Candidate[] = [];
  const entries = new Map<string, Entry>();
  for (const part of parts) {
    for (const event of part.judged) {
      if (event.kind !== 'event' || repeats.has(event)) continue;
      const { tenantId, position } = event.subject;
      const eventSource = ledgerSource(event.envelope.identitySource);
      const key = keyOf({ tenantId, eventId: event.eventId, eventSource });
      let entry = entries.get(key);
      if (entry === undefined) {
        entry = { tenantId, eventId: event.eventId, eventSource, position, key, owner: null };
        entries.set(key, entry);
      }
      candidates.push({ event, entry });
    }
  }
  return { candidates, entries: [...entries.values()].sort(byKey) };
}

function owns({ subject: { position } }: JudgedEvent, { owner }: Entry): boolean {
  if (owner === null) throw new Error('an id was left without an owner');
  return (
    owner.offset === position.offset &&
    owner.partition === position.partition &&
    owner.epoch === position.epoch
  );
}

const settleRoundsMax = 4;

/** Finds the owner of every entry. */
async function settle(client: Queryable, entries: readonly Entry[]): Promise<void> {
  let open = entries;
  for (let round = 0; open.length > 0; round++) {
    if (round === settleRoundsMax) {
      throw processError(
        'PULSE_PROCESS_LEDGER_UNSETTLED',
        `${open.length} ids found neither room nor owner.`,
      );
    }
    const inserted = await insert(client, open);
    const losers: Entry[] = [];
    for (const entry of open) {
      if (inserted.has(formatPosition(entry.position))) entry.owner = entry.position;
      else losers.push(entry);
    }
    // A second statement, because its snapshot sees what concurrent batches committed while the first one waited for them.
    if (losers.length > 0) await readOwners(client, losers);
    // Expiry may remove a row between the two statements; such an id is free again.
    open = losers.filter((entry) => entry.owner === null);
  }
}

// Measured beside one jsonb parameter: for narrow rows arrays are as fast or faster, and RETURNING costs next to nothing,
// while reading every owner back costs a third more.
const insertSql = `
  INSERT INTO processed_event_ids (tenant_id, event_id, event_source, epoch, partition, record_offset)
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::bigint[])
  ON CONFLICT DO NOTHING RETURNING epoch, partition, record_offset AS "offset"`;

/** Inserts what is free and returns the positions that got in. */
async function insert(client: Queryable, entries: readonly Entry[]): Promise<ReadonlySet<string>> {
  const positions = entries.map((entry) => entry.position);
  const { rows } = await client.query<Position>(
    insertSql,
    [
      ...idsOf(entries),
      `{${positions.map((position) => position.epoch).join()}}`,
      `{${positions.map((position) => position.partition).join()}}`,
      `{${positions.map((position) => position.offset).join()}}`,
    ],
    { name: 'process_claim' },
  );
  return new Set(rows.map(formatPosition));
}

// LIMIT keeps the planner from joining whole tables: each id is one look into one index.
const ownersSql = `
  SELECT wanted.number::integer AS number, owner.epoch, owner.partition, owner.record_offset AS "offset"
  FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (tenant_id, event_id, event_source, number)
  CROSS JOIN LATERAL (
    SELECT p.epoch, p.partition, p.record_offset FROM processed_event_ids p
    WHERE p.tenant_id = wanted.tenant_id AND p.event_id = wanted.event_id AND p.event_source = wanted.event_source
    LIMIT 1
  ) AS owner`;

async function readOwners(client: Queryable, entries: readonly Entry[]): Promise<void> {
  const { rows } = await client.query<Position & { number: number }>(ownersSql, idsOf(entries), {
    name: 'process_owners',
  });
  for (const { number, epoch, partition, offset } of rows) {
    (entries[number - 1] as Entry).owner = { epoch, partition, offset };
  }
}

/** The ids as three text arrays. */
function idsOf(entries: readonly Entry[]): string[] {
  return [
    textArray(entries.map((entry) => entry.tenantId)),
    textArray(entries.map((entry) => entry.eventId)),
    textArray(entries.map((entry) => entry.eventSource)),
  ];
}

/** A Postgres array literal. The driver's own writer takes four times as long for thousands of short texts. */
function textArray(texts: readonly string[]): string {
  const quoted = texts.map(
    (text) => `"${needsEscape.test(text) ? text.replaceAll(/["\\]/g, '\\$&') : text}"`,
  );
  return `{${quoted.join()}}`;
}

const needsEscape = /["\\]/;

function nextOffsets(part: ClaimPart): StageOffsets {
  if (part.lastOffset <= part.expected.sourceOffset) return part.expected;
  return { sourceOffset: part.lastOffset, logOffset: part.lastOffset + 1 };
}

/**
 * Outcomes of the records beyond the position, by tenant and minute of receipt. An attempt that is no dead letter any more takes the
 * outcome of the first one back; `moved` holds the bytes of that one.
 */
function countsOf(
  parts: readonly ClaimPart[],
  verdictOf: (judged: Judged) => Verdict,
  moved: ReadonlyMap<Judged, number>,
): StageCount[] {
  const counts = new Map<string, StageCount>();
  for (const { topic, partition, judged, expected } of parts) {
    const add = (one: Judged, outcome: string, events: 1 | -1, bytes: number): void => {
      const { tenantId, receivedAtMs } = one.subject;
      const minuteMs = Math.floor(receivedAtMs / 60_000) * 60_000;
      const key = `${tenantId}\n${minuteMs}\n${outcome}\n${topic}\n${partition}`;
      const sum = counts.get(key);
      counts.set(key, {
        tenantId,
        receivedMinute: sum?.receivedMinute ?? new Date(minuteMs).toISOString(),
        stage: processStage,
        outcome,
        topic,
        partition,
        events: (sum?.events ?? 0) + events,
        bytes: (sum?.bytes ?? 0) + bytes,
      });
    };
    for (const one of judged) {
      if (one.subject.position.offset <= expected.sourceOffset) continue;
      const verdict = verdictOf(one);
      const bytes = one.subject.record.value.length;
      if (one.subject.origin === null) {
        add(one, 'accepted', 1, bytes);
        add(one, verdict, 1, bytes);
        continue;
      }
      const movedBytes = moved.get(one);
      if (movedBytes === undefined) continue;
      add(one, 'dead_letter', -1, -movedBytes);
      add(one, verdict, 1, bytes);
    }
  }
  return [...counts.values()];
}

/** What became of a judged record. */
export function outcomeOf(
  judged: Judged,
  winners: ReadonlySet<JudgedEvent>,
  repeats: ReadonlySet<Judged>,
): Verdict {
  if (repeats.has(judged)) return 'repeat';
  if (judged.kind === 'dead_letter') return 'dead_letter';
  return winners.has(judged) ? 'valid' : 'duplicate';
}
