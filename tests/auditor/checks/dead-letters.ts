// Dead letters: each of them once in its table, with the bytes that came in.
import { Check } from '../check.ts';
import type { Evidence, TopicSet } from '../evidence.ts';
import type { RecordFacts } from '../log-files.ts';

/** The dead letters that are in their table by the position of its sink; each once, in the order of the log. */
export function* writtenDeadLetters(
  evidence: Evidence,
  set: TopicSet,
  isDrained: boolean,
): Iterable<{ readonly record: RecordFacts; readonly position: string; readonly stage: string }> {
  const seen = new Set<string>();
  for (const [partition, records] of set.dlq.records.entries()) {
    const row = evidence.database.positions.find(
      (one) => one.stage === 'dead-letters' && one.epoch === set.dlqEpoch && one.partition === partition,
    );
    for (const record of records) {
      // A further attempt that failed stands in the row of the first one.
      if (record.origin !== null) continue;
      if (!isDrained && record.offset >= (row?.logOffset ?? 0)) break;
      const position = record.source ?? `${set.dlqEpoch}.${partition}.${record.offset}`;
      const stage = record.deadLetterStage ?? 'unknown';
      if (seen.has(`${position} ${stage}`)) continue;
      seen.add(`${position} ${stage}`);
      yield { record, position, stage };
    }
  }
}

export function deadLettersComplete(evidence: Evidence, isDrained: boolean): Check {
  const check = new Check(
    'dead_letters_complete',
    'the table holds each dead letter of the topic once per position and stage, with the raw bytes, and nothing else',
  );
  const rows = new Map<string, (typeof evidence.database.deadLetters)[number]>();
  for (const row of evidence.database.deadLetters) {
    const key = `${row.position} ${row.stage}`;
    check.expect(!rows.has(key), () => `the dead letter of ${key} is in the table twice`);
    rows.set(key, row);
  }
  const due = new Set<string>();
  for (const set of evidence.sets) {
    for (const { record, position, stage } of writtenDeadLetters(evidence, set, isDrained)) {
      const row = rows.get(`${position} ${stage}`);
      due.add(`${position} ${stage}`);
      check.expect(
        row !== undefined,
        () => `the dead letter of ${position} (stage ${stage}) is not in the table`,
      );
      const raw = evidence.raw.get(position)?.record;
      check.expect(
        raw === undefined || raw.digest === record.digest,
        () => `${set.dlq.topic} holds other bytes for ${position} than raw does`,
      );
      if (row === undefined) continue;
      check.expect(
        row.digest === record.digest && row.tenantId === record.tenantId,
        () =>
          `the dead letter of ${position} has other bytes or another tenant in the table than in the topic`,
      );
    }
  }
  if (!isDrained) return check;
  for (const [key, row] of rows) {
    check.expect(
      due.has(key) || evidence.isOutOfSight(row.position),
      () => `the table holds a dead letter of ${key} that is not in the topic`,
    );
  }
  return check;
}
