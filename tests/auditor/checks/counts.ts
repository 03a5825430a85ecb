// Counts: what stage_counts and event_counts say is what raw, topics and tables say.
import { Check } from '../check.ts';
import { type CountRow, countKey } from '../database-facts.ts';
import type { Evidence, RawEvent } from '../evidence.ts';
import { writtenDeadLetters } from './dead-letters.ts';
import { storedThrough } from './outcomes.ts';

class Sums {
  readonly sums = new Map<string, { events: number; bytes: number }>();

  add(key: string, bytes: number, events = 1): void {
    const sum = this.sums.get(key) ?? { events: 0, bytes: 0 };
    const next = { events: sum.events + events, bytes: sum.bytes + bytes };
    if (next.events === 0 && next.bytes === 0) this.sums.delete(key);
    else this.sums.set(key, next);
  }

  compare(check: Check, rows: readonly CountRow[]): void {
    const open = new Map(this.sums);
    for (const { key, events, bytes } of rows) {
      const due = open.get(key) ?? { events: 0, bytes: 0 };
      open.delete(key);
      check.expect(
        due.events === events && due.bytes === bytes,
        () => `${key}: counted ${events} events, ${bytes} bytes; there are ${due.events} with ${due.bytes}`,
      );
    }
    for (const [key, { events, bytes }] of open)
      check.expect(false, () => `${key}: not counted; there are ${events} events with ${bytes} bytes`);
  }
}

/** What process counts a record as; a dead letter that is still on its way looks like nothing yet. */
function countedAs({ outcome }: RawEvent): string {
  if (outcome === 'claimed') return 'valid';
  return outcome === 'unknown' ? 'dead_letter' : outcome;
}

export function stageCountsExact(evidence: Evidence, isDrained: boolean): Check {
  const check = new Check(
    'stage_counts_exact',
    'stage_counts holds, per tenant, minute, stage, outcome and partition, what log and tables hold',
  );
  const sums = new Sums();
  const parked = new Set(evidence.database.parked.map((row) => row.position));
  for (const set of evidence.sets) {
    for (const record of set.raw.records.flat()) {
      const event = evidence.raw.get(`${set.epoch}.${record.partition}.${record.offset}`) as RawEvent;
      if (event.outcome === 'waiting') continue;
      const add = (outcome: string, bytes = record.bytes, events = 1): void =>
        sums.add(
          countKey(record.tenantId, record.minuteMs, 'process', outcome, set.raw.topic, record.partition),
          bytes,
          events,
        );
      const outcome = countedAs(event);
      if (record.origin === null) {
        add('accepted');
        add(outcome);
      } else if (outcome === 'valid' || outcome === 'duplicate') {
        // The outcome of the first attempt moves.
        add('dead_letter', -(evidence.raw.get(record.origin)?.record.bytes ?? 0), -1);
        add(outcome);
      }
    }
    for (const { record } of writtenDeadLetters(evidence, set, isDrained)) {
      const place = [set.dlq.topic, record.partition] as const;
      sums.add(
        countKey(record.tenantId, record.minuteMs, 'dead_letters', 'dead_letter', ...place),
        record.bytes,
      );
    }
    const seen = new Set<string>();
    for (const record of set.valid.records.flat()) {
      const source = record.source ?? '';
      const isStored = Number(source.split('.')[2]) <= storedThrough(evidence, set, record.partition);
      if (!isStored || seen.has(source)) continue;
      seen.add(source);
      const outcome = parked.has(source) ? 'parked' : 'stored';
      sums.add(
        countKey(record.tenantId, record.minuteMs, 'store', outcome, set.valid.topic, record.partition),
        record.bytes,
      );
    }
  }
  // Once retention has removed raw records, whole minutes cannot be counted again.
  if (evidence.sets.some((set) => set.raw.earliest.some((offset) => offset > 0))) return check;
  // Whether a judged record that is in no topic yet will be a duplicate or a dead letter, only process knows.
  const isSettled = (key: string): boolean => isDrained || !/ process\/(duplicate|dead_letter) /.test(key);
  for (const key of sums.sums.keys()) if (!isSettled(key)) sums.sums.delete(key);
  const rows = evidence.database.counts.filter((row) => row.events !== 0 || row.bytes !== 0);
  sums.compare(
    check,
    rows.filter((row) => isSettled(row.key)),
  );
  return check;
}

export function eventCountsExact(evidence: Evidence): Check {
  const check = new Check(
    'event_counts_exact',
    'event_counts holds, per minute and per hour, the events of their table',
  );
  const validTopic = new Map(evidence.sets.map((set) => [String(set.epoch), set.valid.topic]));
  for (const bucketMinutes of new Set(evidence.database.eventCounts.map((row) => row.bucketMinutes))) {
    const sums = new Sums();
    const bucketMs = bucketMinutes * 60_000;
    for (const { tenantId, minuteMs, position, bytes } of evidence.database.events) {
      const [epoch, partition] = position.split('.') as [string, string];
      const bucket = Math.floor(minuteMs / bucketMs) * bucketMs;
      const topic = validTopic.get(epoch) ?? '';
      sums.add(countKey(tenantId, bucket, 'events', `${bucketMinutes} min`, topic, Number(partition)), bytes);
    }
    sums.compare(
      check,
      evidence.database.eventCounts.filter((row) => row.bucketMinutes === bucketMinutes),
    );
  }
  return check;
}
