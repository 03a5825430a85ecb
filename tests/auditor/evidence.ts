// Log and database laid side by side: each raw record with everything that claims to come from it.
import type { DatabaseFacts } from './database-facts.ts';
import type { RecordFacts, TopicFacts } from './log-files.ts';

/** What the files and the ledger say about one raw record. */
type Outcome =
  | 'valid'
  | 'dead_letter'
  | 'duplicate'
  /** The same attempt as an earlier record: without any effect. */
  | 'repeat'
  /** Owns its id, and is not in the valid topic yet. */
  | 'claimed'
  /** Nothing in any topic or table knows it. */
  | 'unknown'
  /** Process has not judged it yet. */
  | 'waiting';

/** One raw record. */
export interface RawEvent {
  readonly position: string;
  readonly record: RecordFacts;
  readonly outcome: Outcome;
  /** Records of the valid topic and of the dead-letter topic that name it as their source. */
  readonly valid: readonly RecordFacts[];
  readonly deadLetters: readonly RecordFacts[];
  /** Position that owns its event id. */
  readonly owner: string | null;
}

/** A raw topic with the topics that follow from it. */
export interface TopicSet {
  readonly epoch: number;
  readonly raw: TopicFacts;
  readonly valid: TopicFacts;
  readonly dlq: TopicFacts;
  /** Epoch of the dead-letter topic, under which its sink keeps positions; null before its first one. */
  readonly dlqEpoch: number | null;
  /** Last raw offset that process has judged, by partition; -1 when none is. */
  readonly claimedThrough: readonly number[];
}

export interface Evidence {
  readonly sets: readonly TopicSet[];
  readonly database: DatabaseFacts;
  /** Every raw record, by position. */
  readonly raw: ReadonlyMap<string, RawEvent>;
  /** True for a position that retention has removed from the raw topic: nothing can be said about it. */
  isOutOfSight(position: string): boolean;
}

/** What the ledger keeps apart: tenant, source and id. */
export function ledgerKey(tenantId: string, source: string, eventId: string): string {
  return `${tenantId}\n${source}\0${eventId}`;
}

/** Lays everything side by side. Topics belong together by their names: `<set>.raw`, `<set>.valid`, `<set>.dlq`. */
export function gather(topics: ReadonlyMap<string, TopicFacts>, database: DatabaseFacts): Evidence {
  const sets: TopicSet[] = [];
  for (const [name, raw] of topics) {
    const base = name.endsWith('.raw') ? name.slice(0, -'.raw'.length) : null;
    const valid = base === null ? undefined : topics.get(`${base}.valid`);
    const dlq = base === null ? undefined : topics.get(`${base}.dlq`);
    const epoch = epochOf(database, raw);
    if (valid === undefined || dlq === undefined || epoch === null) continue;
    const claimedThrough = raw.records.map((_, partition) => {
      const rows = database.positions.filter((row) => row.stage === 'process' && row.epoch === epoch);
      return rows.find((row) => row.partition === partition)?.sourceOffset ?? -1;
    });
    sets.push({ epoch, raw, valid, dlq, dlqEpoch: epochOf(database, dlq), claimedThrough });
  }
  const owners = new Map(
    database.ledger.map((row) => [ledgerKey(row.tenantId, row.source, row.eventId), row.position]),
  );
  const raw = new Map<string, RawEvent>();
  for (const set of sets) addSet(set, owners, raw);
  return { sets, database, raw, isOutOfSight: (position) => isOutOfSight(sets, position) };
}

function epochOf(database: DatabaseFacts, topic: TopicFacts): number | null {
  return database.epochs.get(`${topic.topic} ${topic.incarnation}`) ?? null;
}

function addSet(set: TopicSet, owners: ReadonlyMap<string, string>, raw: Map<string, RawEvent>): void {
  const valid = bySource(set.valid);
  const deadLetters = bySource(set.dlq);
  const attempts = new Set<string>();
  for (const record of set.raw.records.flat()) {
    const position = `${set.epoch}.${record.partition}.${record.offset}`;
    const known = {
      valid: valid.get(position) ?? [],
      deadLetters: deadLetters.get(position) ?? [],
      owner: owners.get(ledgerKey(record.tenantId, record.ledgerSource, record.eventId ?? '')) ?? null,
    };
    const isJudged = record.offset <= (set.claimedThrough[record.partition] as number);
    const attempt = `${record.tenantId} ${record.origin} ${record.attempt}`;
    const isRepeat = record.origin !== null && attempts.has(attempt);
    attempts.add(attempt);
    const outcome = isJudged ? outcomeOf(position, known, isRepeat) : 'waiting';
    raw.set(position, { position, record, outcome, ...known });
  }
}

function outcomeOf(
  position: string,
  known: Pick<RawEvent, 'valid' | 'deadLetters' | 'owner'>,
  isRepeat: boolean,
): Outcome {
  if (known.deadLetters.length > 0) return 'dead_letter';
  if (known.valid.length > 0) return 'valid';
  if (known.owner === position) return 'claimed';
  if (isRepeat) return 'repeat';
  return known.owner === null ? 'unknown' : 'duplicate';
}

/** The records of a topic by the raw position that each names as its source. */
export function bySource(topic: TopicFacts): Map<string, RecordFacts[]> {
  const found = new Map<string, RecordFacts[]>();
  for (const record of topic.records.flat()) {
    const source = record.source ?? `none ${topic.topic}/${record.partition}.${record.offset}`;
    const same = found.get(source);
    if (same === undefined) found.set(source, [record]);
    else same.push(record);
  }
  return found;
}

function isOutOfSight(sets: readonly TopicSet[], position: string): boolean {
  const [epoch, partition, offset] = position.split('.').map(Number) as [number, number, number];
  const set = sets.find((one) => one.epoch === epoch);
  return set !== undefined && offset < (set.raw.earliest[partition] ?? 0);
}
