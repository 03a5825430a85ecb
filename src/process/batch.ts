// One micro-batch from raw to routed: judge → claim → append dead letters → append valid records. In this order, because
// I1: nothing is appended to valid that does not own its id, and I2: a record at or below the last source in valid was
// routed wholly, its dead-letter neighbours included.

import { header } from '../core/envelope.ts';
import { PulseError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { Position } from '../core/position.ts';
import type { Database } from '../database/types.ts';
import { type EventLog, type LogRecord, logError } from '../ports/event-log/event-log.ts';
import type { Directory } from '../tenancy/types.ts';
import type { Work } from './loop/partition.ts';
import type { ProcessMeter } from './metrics.ts';
import type { Routing } from './restart.ts';
import { type Claimed, type ClaimPart, claim, outcomeOf } from './steps/claim.ts';
import { type Judged, judge } from './steps/judge.ts';
import { toDeadLetterRecord, toValidRecord } from './steps/route.ts';
import type { TopicSet } from './topic-set.ts';

export interface BatchDependencies {
  readonly log: Pick<EventLog, 'append'>;
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenant' | 'refresh'>;
  readonly meter: ProcessMeter;
}

/** The records of one partition with their verdicts. */
interface Share {
  readonly work: Work<TopicSet, Routing>;
  readonly judged: readonly Judged[];
}

/**
 * Does one micro-batch.
 * Guarantees: resolves when every record is claimed, routed and durable. May be called again for the same works after any error
 * or crash, once `restartPoint` has been asked anew: the claim answers the same, and what is in the topics already is not
 * appended again.
 * Errors: those of `claim` and `EventLog.append`.
 */
export async function doBatch(
  dependencies: BatchDependencies,
  works: readonly Work<TopicSet, Routing>[],
): Promise<void> {
  const { log, meter, directory } = dependencies;
  const stopTimer = meter.batchSeconds.startTimer();
  failpoint('process.polled');
  await meetNewTenants(directory, works);
  const shares = works.map((work) => ({
    work,
    judged: work.records.map((record) => judge(record, work.partition.source.facts)),
  }));
  const claimed = await claimShares(dependencies, shares);
  failpoint('process.claimed');

  const letters = shares.map((share) => deadLetters(share, claimed));
  await appendAll(
    log,
    shares.map(({ work }, index) => [work.partition.source.names.dlq, letters[index] ?? []]),
  );
  if (letters.some((some) => some.length > 0)) failpoint('process.dead_letters_appended');
  const routed = shares.map((share) => validRecords(share, claimed));
  await appendAll(
    log,
    shares.map(({ work }, index) => [work.partition.source.names.valid, routed[index]?.records ?? []]),
  );
  failpoint('process.valid_appended');
  for (const [index, { work }] of shares.entries()) {
    work.partition.state = {
      routedThrough: work.nextOffset - 1,
      previous: (routed[index] as Routed).previous,
    };
  }
  stopTimer();
}

/**
 * A tenant may be younger than this process's directory: collect accepts its events within a second of its making. So nobody
 * is called unknown before the directory was read anew.
 */
async function meetNewTenants(
  directory: BatchDependencies['directory'],
  works: readonly Work<TopicSet, Routing>[],
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

async function claimShares(
  { database, meter }: BatchDependencies,
  shares: readonly Share[],
): Promise<Claimed> {
  const stopTimer = meter.claimSeconds.startTimer();
  const claimed = await claim(database, shares.map(claimPart));
  stopTimer();
  for (const [index, { work, judged }] of shares.entries()) {
    const { partition } = work;
    const countedThrough = partition.position.sourceOffset;
    meter.count(judged, (one) =>
      one.subject.position.offset > countedThrough ? outcomeOf(one, claimed.winners, claimed.repeats) : null,
    );
    partition.position = claimed.positions[index] ?? partition.position;
  }
  return claimed;
}

function claimPart({ work, judged }: Share): ClaimPart {
  const { source, partition, position } = work.partition;
  const lastOffset = work.nextOffset - 1;
  return { topic: source.topic, epoch: source.epoch, partition, judged, expected: position, lastOffset };
}

function deadLetters({ work, judged }: Share, { repeats }: Claimed): readonly LogRecord[] {
  const { source, state } = work.partition;
  const letters: LogRecord[] = [];
  for (const one of judged) {
    if (one.kind !== 'dead_letter' || repeats.has(one)) continue;
    if (one.subject.position.offset <= state.routedThrough) continue;
    letters.push(toDeadLetterRecord(one, source.deadLetterPartitions));
  }
  return letters;
}

interface Routed {
  readonly records: readonly LogRecord[];
  readonly previous: Position | null;
}

/** The winners of one partition, each naming the one before it. */
function validRecords({ work, judged }: Share, { winners }: Claimed): Routed {
  const { routedThrough } = work.partition.state;
  let { previous } = work.partition.state;
  const records: LogRecord[] = [];
  for (const one of judged) {
    if (one.kind !== 'event' || !winners.has(one) || one.subject.position.offset <= routedThrough) continue;
    records.push(toValidRecord(one, previous));
    previous = one.subject.position;
  }
  return { records, previous };
}

/** Appends the records, one call for each topic. */
async function appendAll(
  log: BatchDependencies['log'],
  parts: readonly (readonly [string, readonly LogRecord[]])[],
): Promise<void> {
  const groups = new Map<string, LogRecord[]>();
  for (const [topic, records] of parts) {
    if (records.length > 0) groups.set(topic, (groups.get(topic) ?? []).concat(records));
  }
  // Every append is awaited even when one fails: none may still be under way when the batch is tried again.
  const results = await Promise.allSettled(
    [...groups].map(([topic, records]) => appendTo(log, topic, records)),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Names the topic in the error of a damaged log, so that only its partitions stop. */
async function appendTo(
  log: BatchDependencies['log'],
  topic: string,
  records: readonly LogRecord[],
): Promise<void> {
  try {
    await log.append(topic, records);
  } catch (error) {
    if (!(error instanceof PulseError) || error.code !== 'PULSE_LOG_CORRUPT') throw error;
    throw logError('PULSE_LOG_CORRUPT', error.message, {
      cause: error,
      details: { ...error.details, topic },
    });
  }
}
