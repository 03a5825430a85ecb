// Positions: never beyond the log, never back, and at its end once everything is carried on.
import { Check } from '../check.ts';
import type { PositionRow } from '../database-facts.ts';
import type { Evidence, TopicSet } from '../evidence.ts';

export function positionsInBounds(evidence: Evidence, isDrained: boolean): Check {
  const check = new Check(
    'positions_in_bounds',
    'no position of a stage lies beyond the log; when nothing is under way, all stand at its end',
  );
  for (const row of evidence.database.positions) {
    const place = `${row.stage} ${row.epoch}.${row.partition} (source ${row.sourceOffset}, log ${row.logOffset})`;
    const set = evidence.sets.find((one) => one.epoch === row.epoch || one.dlqEpoch === row.epoch);
    if (set === undefined) continue; // Of a topic that is no more.
    const input = inputOf(row, set);
    const end = input.ends[row.partition] ?? -1;
    check.expect(row.logOffset <= end, () => `${place} lies beyond ${input.topic}, which ends at ${end}`);
    if (row.stage !== 'dead-letters') {
      const rawEnd = set.raw.ends[row.partition] ?? -1;
      check.expect(
        row.sourceOffset < rawEnd,
        () => `${place} lies beyond ${set.raw.topic}, which ends at ${rawEnd}`,
      );
    }
    if (!isDrained) continue;
    // A repeated record behind the position of the store moves nothing, so only what is not yet stored counts.
    const left = (input.records[row.partition] ?? []).filter(
      (record) =>
        record.offset >= row.logOffset &&
        (row.stage !== 'store' || Number((record.source ?? '').split('.')[2]) > row.sourceOffset),
    );
    check.expect(left.length === 0, () => `${place} leaves ${left.length} records of ${input.topic} undone`);
  }
  if (isDrained) for (const set of evidence.sets) expectRows(check, evidence, set);
  return check;
}

function inputOf(row: PositionRow, set: TopicSet) {
  if (row.stage === 'process') return set.raw;
  return row.stage === 'dead-letters' ? set.dlq : set.valid;
}

/** A partition with records and no position at all was never carried on. */
function expectRows(check: Check, evidence: Evidence, set: TopicSet): void {
  const inputs = [
    ['process', set.epoch, set.raw],
    ['store', set.epoch, set.valid],
    ['dead-letters', set.dlqEpoch, set.dlq],
  ] as const;
  for (const [stage, epoch, topic] of inputs) {
    for (const [partition, records] of topic.records.entries()) {
      if (records.length === 0) continue;
      const row = evidence.database.positions.find(
        (one) => one.stage === stage && one.epoch === epoch && one.partition === partition,
      );
      check.expect(
        row !== undefined,
        () =>
          `${stage} has no position in ${topic.topic}/${partition}, which holds ${records.length} records`,
      );
    }
  }
}

export function positionsNeverBack(evidence: Evidence, earlier: readonly PositionRow[]): Check {
  const check = new Check(
    'positions_never_back',
    'no position lies before the one that an earlier audit saw',
  );
  const keyOf = (row: PositionRow): string => `${row.stage} ${row.epoch}.${row.partition}`;
  const now = new Map(evidence.database.positions.map((row) => [keyOf(row), row]));
  for (const before of earlier) {
    const row = now.get(keyOf(before));
    check.expect(
      row !== undefined && row.sourceOffset >= before.sourceOffset && row.logOffset >= before.logOffset,
      () =>
        `${keyOf(before)} was at source ${before.sourceOffset}, log ${before.logOffset}; it is at ${row === undefined ? 'nothing' : `source ${row.sourceOffset}, log ${row.logOffset}`}`,
    );
  }
  return check;
}
