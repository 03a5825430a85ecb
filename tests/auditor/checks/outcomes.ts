// Nothing lost, nothing doubled: acknowledged ⊆ raw, every raw record in exactly one place, each winner once.
import { Check } from '../check.ts';
import { bySource, type Evidence, ledgerKey, type TopicSet } from '../evidence.ts';

/** An event that Pulse answered 202 for. */
export interface Acknowledged {
  readonly event_id: string;
  readonly receipt_id: string;
}

export function acknowledgedInRaw(evidence: Evidence, acknowledged: readonly Acknowledged[]): Check {
  const check = new Check(
    'acknowledged_in_raw',
    'every acknowledged event lies in the raw topic at the position that its receipt names, with its tenant and id',
  );
  for (const { event_id: eventId, receipt_id: receiptId } of acknowledged) {
    const match = /^rcp_([a-z0-9_-]+)\.(\d+\.\d+\.\d+)$/.exec(receiptId);
    if (match === null) {
      check.expect(false, () => `'${receiptId}' is no receipt`);
      continue;
    }
    const [, tenantId, position] = match as unknown as [string, string, string];
    if (evidence.isOutOfSight(position)) continue;
    const found = evidence.raw.get(position)?.record;
    check.expect(
      found?.tenantId === tenantId && found.eventId === eventId,
      () =>
        `${receiptId} (event ${eventId}): ${found === undefined ? 'no record is there' : `event ${found.eventId} of ${found.tenantId} is there`}`,
    );
  }
  return check;
}

/** `isDrained`: nothing may be under way any more. */
export function oneOutcome(evidence: Evidence, isDrained: boolean): Check {
  const check = new Check(
    'raw_has_one_outcome',
    'every raw record is exactly one of valid, dead letter and duplicate, or has not been judged yet',
  );
  for (const { position, record, outcome, valid, deadLetters, owner } of evidence.raw.values()) {
    check.looked();
    const who = `${position} (event ${record.eventId} of ${record.tenantId})`;
    if (valid.length > 0 && deadLetters.length > 0)
      check.breach(`${who} is in the valid and in the dead-letter topic`);
    if (deadLetters.length > 0 && owner === position) check.breach(`${who} is a dead letter and owns its id`);
    // The topic is read after the database, so it may be ahead of a position that was read before.
    if (outcome !== 'waiting' && valid.length > 0 && owner !== position)
      check.breach(`${who} is in the valid topic, its id belongs to ${owner ?? 'nobody'}`);
    if (isDrained && (outcome === 'claimed' || outcome === 'unknown' || outcome === 'waiting'))
      check.breach(`${who} is ${outcome} although everything should have been carried on`);
  }
  return check;
}

export function validHoldsWinnersOnce(evidence: Evidence): Check {
  const check = new Check(
    'valid_holds_winners_once',
    'the valid topic holds each raw record at most once, as its own event, and nothing that raw does not hold',
  );
  for (const set of evidence.sets) {
    for (const [source, records] of bySource(set.valid)) {
      if (evidence.isOutOfSight(source)) continue;
      const raw = evidence.raw.get(source)?.record;
      const [first] = records;
      check.expect(
        records.length === 1,
        () =>
          `${source} stands ${records.length} times in ${set.valid.topic}, at offsets ${records.map((record) => record.offset)}`,
      );
      check.expect(
        raw !== undefined &&
          raw.tenantId === first?.tenantId &&
          raw.eventId === first.eventId &&
          raw.partition === first.partition,
        () =>
          `${set.valid.topic} names the source ${source} for event ${first?.eventId} of ${first?.tenantId}; raw has ${raw?.eventId ?? 'nothing'} there`,
      );
    }
  }
  return check;
}

export function validChain(evidence: Evidence): Check {
  const check = new Check(
    'valid_chain_unbroken',
    'the valid topic follows the order of raw in each partition, and each record names the one before it',
  );
  for (const { valid } of evidence.sets) {
    for (const [partition, records] of valid.records.entries()) {
      let previous: string | null = null;
      for (const { source, previous: named, offset } of records) {
        const place = `${valid.topic}/${partition} offset ${offset}`;
        // What stood before the first record that is left, retention may have removed.
        const isFirstLeft = offset === valid.earliest[partition] && offset > 0;
        if (!isFirstLeft)
          check.expect(named === previous, () => `${place} names ${named} before it; ${previous} is`);
        if (previous !== null)
          check.expect(isBefore(previous, source), () => `${place} comes from ${source}, behind ${previous}`);
        previous = source;
      }
    }
  }
  return check;
}

function isBefore(one: string, other: string | null): boolean {
  const [epochA, , offsetA] = one.split('.').map(Number) as [number, number, number];
  const [epochB, , offsetB] = (other ?? '').split('.').map(Number) as [number, number, number];
  return epochA < epochB || (epochA === epochB && offsetA < offsetB);
}

export function storedOnce(evidence: Evidence): Check {
  const check = new Check('stored_once', 'no event id of a tenant and no position is stored twice');
  const positions = new Set<string>();
  const ids = new Set<string>();
  for (const { tenantId, eventId, position } of evidence.database.events) {
    check.expect(!positions.has(position), () => `${position} (event ${eventId}) is stored twice`);
    positions.add(position);
    const key = ledgerKey(tenantId, evidence.raw.get(position)?.record.ledgerSource ?? '', eventId);
    check.expect(
      !ids.has(key),
      () => `event ${eventId} of ${tenantId} is stored twice, once from ${position}`,
    );
    ids.add(key);
  }
  return check;
}

export function storedOwnTheirIds(evidence: Evidence): Check {
  const check = new Check(
    'stored_own_their_ids',
    'every stored event comes from the position that owns its id',
  );
  for (const { tenantId, eventId, position } of evidence.database.events) {
    const raw = evidence.raw.get(position);
    if (raw === undefined) {
      check.expect(
        evidence.isOutOfSight(position),
        () => `event ${eventId} of ${tenantId} is stored from ${position}, where raw has nothing`,
      );
      continue;
    }
    check.expect(
      raw.owner === position && raw.record.tenantId === tenantId && raw.record.eventId === eventId,
      () =>
        `event ${eventId} of ${tenantId} is stored from ${position}; raw has ${raw.record.eventId} of ${raw.record.tenantId}, the id belongs to ${raw.owner}`,
    );
  }
  return check;
}

/** The raw offset up to which the store has taken effect. */
export function storedThrough(evidence: Evidence, set: TopicSet, partition: number): number {
  const row = evidence.database.positions.find(
    (one) => one.stage === 'store' && one.epoch === set.epoch && one.partition === partition,
  );
  return row?.sourceOffset ?? -1;
}

export function storedIsValid(evidence: Evidence, isDrained: boolean): Check {
  const check = new Check(
    'stored_is_valid',
    'what the valid topic holds up to the position of the store is stored (or parked), and nothing else is',
  );
  const stored = new Set(evidence.database.events.map((row) => row.position));
  for (const { position } of evidence.database.parked) stored.add(position);
  for (const set of evidence.sets) {
    for (const { partition, offset, source, eventId } of set.valid.records.flat()) {
      const sourceOffset = Number((source ?? '').split('.')[2]);
      const isDue = isDrained || sourceOffset <= storedThrough(evidence, set, partition);
      if (!isDue) continue;
      check.expect(
        stored.has(source ?? ''),
        () => `${source} (event ${eventId}, ${set.valid.topic}/${partition} offset ${offset}) is not stored`,
      );
    }
  }
  for (const position of stored) {
    const raw = evidence.raw.get(position);
    if (raw !== undefined)
      check.expect(raw.valid.length > 0, () => `${position} is stored and not in the valid topic`);
  }
  return check;
}

export function storedContent(evidence: Evidence): Check {
  const check = new Check(
    'stored_content',
    'the data of every stored native event means what its raw bytes mean',
  );
  for (const row of evidence.database.events) {
    const raw = evidence.raw.get(row.position)?.record;
    if (raw === undefined || raw.dataDigest === null) continue;
    check.expect(
      raw.dataDigest === row.dataDigest,
      () => `${row.position} (event ${row.eventId}) is stored with other data than it came with`,
    );
  }
  return check;
}
