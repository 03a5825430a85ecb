// One micro-batch from raw to routed: judge → claim → append dead letters → append valid records. In this order, because
// I1: nothing is appended to valid that does not own its id, and I2: a record at or below the last source in valid was
// routed wholly, its dead-letter neighbours included.
import { header } from '../core/envelope.ts';
import type { Position } from '../core/position.ts';
import type { Database } from '../database/types.ts';
import type { EventLog, LogRecord, StoredRecord } from '../ports/event-log/event-log.ts';
import type { Directory } from '../tenancy/types.ts';
import type { ProcessMeter } from './metrics.ts';
import type { Partition } from './partition.ts';
import { type ClaimPart, claim, outcomeOf } from './steps/claim.ts';
import { type Judged, type JudgedEvent, judge } from './steps/judge.ts';
import { toDeadLetterRecord, toValidRecord } from './steps/route.ts';

/** Records of one partition that are to be done; in order, at least one. */
export interface Work {
  readonly partition: Partition;
  readonly records: readonly StoredRecord[];
  /** Raw offset that follows the work. */
  readonly nextOffset: number;
}

export interface BatchDependencies {
  readonly log: Pick<EventLog, 'append'>;
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenant' | 'refresh'>;
  readonly meter: ProcessMeter;
}

/**
 * Does one micro-batch.
 * Guarantees: resolves when every record is claimed, routed and durable, and the partitions say so. May be called again for the
 * same work after any error or crash, once `restartPoint` has been asked anew: the claim answers the same, and what is
 * in the topics already is not appended again.
 * Errors: those of `claim` and `EventLog.append`.
 */
export async function doBatch(dependencies: BatchDependencies, works: readonly Work[]): Promise<void> {
  const { log, database, meter } = dependencies;
  await meetNewTenants(dependencies.directory, works);
  const judged = works.map(({ records, partition }) =>
    records.map((record) => judge(record, partition.set.facts)),
  );

  const claimTimer = meter.claimSeconds.startTimer();
  const parts = works.map((work, index) => claimPart(work, judged[index] as Judged[]));
  const { winners, positions } = await claim(database, parts);
  claimTimer();
  for (const [index, position] of positions.entries()) {
    const work = works[index] as Work;
    meter.count(judged[index] as Judged[], (one) =>
      one.subject.position.offset > work.partition.claimed.sourceOffset ? outcomeOf(one, winners) : null,
    );
    work.partition.claimed = position;
  }

  await appendAll(log, deadLettersByTopic(works, judged));
  const routed = works.map((work, index) => validRecords(work, judged[index] as Judged[], winners));
  await appendAll(
    log,
    groupByTopic(
      routed.map(({ records }, index) => [(works[index] as Work).partition.set.names.valid, records]),
    ),
  );
  for (const [index, work] of works.entries()) {
    const { partition } = work;
    partition.previous = (routed[index] as Routed).previous;
    partition.nextOffset = work.nextOffset;
    partition.routedThrough = Math.max(partition.routedThrough, work.nextOffset - 1);
  }
}

/**
 * A tenant may be younger than this process's directory: collect accepts its events within a second of its making. So nobody
 * is called unknown before the directory was read anew.
 */
async function meetNewTenants(
  directory: BatchDependencies['directory'],
  works: readonly Work[],
): Promise<void> {
  const seen = new Set<string>();
  for (const { records } of works) {
    for (const record of records) {
      const tenantId = record.headers[header.tenant];
      if (tenantId === undefined || seen.has(tenantId)) continue;
      seen.add(tenantId);
      if (directory.tenant(tenantId) !== null) continue;
      await directory.refresh();
      return;
    }
  }
}

function claimPart(work: Work, judged: readonly Judged[]): ClaimPart {
  const { set, partition, claimed } = work.partition;
  return {
    topic: set.names.raw,
    epoch: set.facts.epoch,
    partition,
    judged,
    expected: claimed,
    lastOffset: work.nextOffset - 1,
  };
}

function deadLettersByTopic(
  works: readonly Work[],
  judged: readonly (readonly Judged[])[],
): Map<string, LogRecord[]> {
  return groupByTopic(
    works.map(({ partition }, index) => {
      const letters: LogRecord[] = [];
      for (const one of judged[index] as readonly Judged[]) {
        if (one.kind !== 'dead_letter' || one.subject.position.offset <= partition.routedThrough) continue;
        letters.push(toDeadLetterRecord(one, partition.set.deadLetterPartitions));
      }
      return [partition.set.names.dlq, letters];
    }),
  );
}

interface Routed {
  readonly records: readonly LogRecord[];
  readonly previous: Position | null;
}

/** The winners of one partition, each naming the one before it. */
function validRecords(work: Work, judged: readonly Judged[], winners: ReadonlySet<JudgedEvent>): Routed {
  const records: LogRecord[] = [];
  let { previous } = work.partition;
  for (const one of judged) {
    if (one.kind !== 'event' || !winners.has(one)) continue;
    if (one.subject.position.offset <= work.partition.routedThrough) continue;
    records.push(toValidRecord(one, previous));
    previous = one.subject.position;
  }
  return { records, previous };
}

function groupByTopic(parts: readonly (readonly [string, readonly LogRecord[]])[]): Map<string, LogRecord[]> {
  const groups = new Map<string, LogRecord[]>();
  for (const [topic, records] of parts) {
    if (records.length === 0) continue;
    const group = groups.get(topic);
    if (group === undefined) groups.set(topic, [...records]);
    else group.push(...records);
  }
  return groups;
}

async function appendAll(
  log: BatchDependencies['log'],
  groups: ReadonlyMap<string, readonly LogRecord[]>,
): Promise<void> {
  // Every append is awaited even when one fails: none may still be under way when the batch is tried again.
  const results = await Promise.allSettled([...groups].map(([topic, records]) => log.append(topic, records)));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
