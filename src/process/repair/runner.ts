// Runs one repair job: recover what an earlier run left → send in chunks → wait for the verdicts → end.
// R1: a dead letter is `reprocessing` at attempt n, and its item `sent`, before anything is appended for it.
// R2: what is `sent` without a verdict is appended again only when the raw log does not hold it; from where on it could, the item
// remembers. R3: even an attempt that is in the log twice has one effect, because process knows attempts (steps/attempts.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { header } from '../../core/envelope.ts';
import { hasCode } from '../../core/errors.ts';
import { failpoint } from '../../core/failpoint.ts';
import { formatPosition } from '../../core/position.ts';
import type { Database, Queryable } from '../../database/types.ts';
import type { EventLog, LogRecord } from '../../ports/event-log/event-log.ts';
import type { Directory } from '../../tenancy/types.ts';
import type { ProcessSettings } from '../config.ts';
import { ledgerSource } from '../steps/claim.ts';
import {
  type DoneItem,
  finishItems,
  nextItems,
  pickItems,
  type SentItem,
  sendItems,
  sentItems,
  settleItems,
  type WaitingItem,
} from './items.ts';
import { beginRun, holdRun, type Job, type JobState, moveJob } from './jobs.ts';
import {
  compose,
  failuresOf,
  type Letter,
  type NextAttempt,
  prepare,
  type Refusal,
  type Rules,
  readLetters,
  type Target,
  toRecord,
} from './letters.ts';
import { parsePatch } from './patch.ts';

const chunk = { itemsMax: 500, bytesMax: 4 * 1_048_576 } as const;
/** Attempts without a verdict that one job may have in the log: collect shares it, and comes first. */
const sentMax = 2_000;
const settlePauseMs = 100;

export interface RepairRunnerDependencies {
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenant'>;
  readonly log: Pick<EventLog, 'append' | 'bounds' | 'read'>;
  /** The raw topic of a tenant as it now is. This process must be its writer. */
  readonly rawTopic: (tenantId: string) => Promise<Target>;
  readonly clock: Clock;
  readonly settings: Pick<ProcessSettings, 'PULSE_PROCESS_REPAIR_ATTEMPTS' | 'PULSE_PROCESS_REPAIR_ITEMS'>;
}

/** A run of one job. */
interface Run {
  readonly job: Job;
  readonly target: Target;
  readonly rules: Rules;
  readonly signal: AbortSignal;
}

/**
 * Goes on with a job until it has ended, a newer run has begun, or the signal aborts.
 * Guarantees: may be called again at any time, also beside itself; each dead letter gets at most one attempt from one job.
 */
export async function runJob(
  dependencies: RepairRunnerDependencies,
  ids: { readonly tenantId: string; readonly jobId: string },
  signal: AbortSignal,
): Promise<void> {
  const { database } = dependencies;
  const job = await database.withTenant(ids.tenantId, async (client) => {
    const begun = await beginRun(client, ids.tenantId, ids.jobId);
    if (begun !== null) await pickItems(client, begun, dependencies.settings.PULSE_PROCESS_REPAIR_ITEMS);
    return begun;
  });
  if (job === null) return;
  const target = await dependencies.rawTopic(job.tenant_id);
  const run: Run = { job, target, rules: rulesOf(dependencies, job, target), signal };
  if (!job.dry_run) await recover(dependencies, run);
  for (;;) {
    if (signal.aborted) return;
    const state = await step(dependencies, run);
    if (state !== 'running') return;
  }
}

function rulesOf({ directory, settings, clock }: RepairRunnerDependencies, job: Job, target: Target): Rules {
  const tenant = directory.tenant(job.tenant_id);
  return {
    patch: job.patch === null ? null : parsePatch(job.patch),
    attemptsMax: settings.PULSE_PROCESS_REPAIR_ATTEMPTS,
    facts: {
      epoch: target.epoch,
      ownerId: tenant?.topics === 'dedicated' ? tenant.tenantId : null,
      tenantOf: (tenantId) => directory.tenant(tenantId),
    },
    nowMs: clock.now(),
  };
}

/** One turn: settle, then send the next chunk, or wait, or end. Returns the state of the job; null when the run is over. */
async function step(dependencies: RepairRunnerDependencies, run: Run): Promise<JobState | null> {
  const { database } = dependencies;
  const { job } = run;
  const look = await database.withTenant(job.tenant_id, async (client) => {
    const state = await holdRun(client, job);
    if (state === null) return null;
    const left = await settleItems(client, job);
    if (left.sent > 0) return { state, ...left };
    if (state === 'cancelling') await moveJob(client, job, ['cancelling'], 'cancelled');
    else if (left.waiting === 0) await moveJob(client, job, ['running'], 'succeeded');
    else return { state, ...left };
    return null;
  });
  failpoint('repair.settled');
  if (look === null) return null;
  if (look.state === 'running' && look.waiting > 0 && look.sent + chunk.itemsMax <= sentMax) {
    if (job.dry_run) await judgeChunk(dependencies, run);
    else await sendChunk(dependencies, run);
  } else {
    await sleep(settlePauseMs, undefined, { signal: run.signal }).catch(() => {}); // The loop looks at the signal itself.
  }
  return 'running';
}

/** Sends the next items: the states first, the appends afterwards. */
async function sendChunk(dependencies: RepairRunnerDependencies, run: Run): Promise<void> {
  const { database, log } = dependencies;
  const { job, target, rules } = run;
  // Read before the states change: the attempts of this chunk can lie at or behind these offsets only.
  const ends = new Map((await log.bounds(target.topic)).map(({ partition, end }) => [partition, end]));
  failpoint('repair.before_send');
  const records = await database.withTenant(job.tenant_id, async (client) => {
    if ((await holdRun(client, job)) !== 'running') return [];
    const items = await nextItems(client, job, chunk);
    const letters = await readLetters(
      client,
      job.tenant_id,
      items.map((item) => item.dead_letter_id),
      true,
    );
    const done: DoneItem[] = [];
    const sent: SentItem[] = [];
    const appends: LogRecord[] = [];
    for (const item of items) {
      const next = prepare(letters.get(item.dead_letter_id), rules);
      if (next.kind === 'refused') done.push(refusedItem(item, next));
      else {
        const record = toRecord(next, target);
        appends.push(record);
        sent.push(sentItem(item, next, target, record.partition, ends.get(record.partition) ?? 0));
      }
    }
    await finishItems(client, job, done);
    await sendItems(client, job, sent);
    return appends;
  });
  failpoint('repair.sent');
  if (records.length > 0) await log.append(target.topic, records);
  failpoint('repair.appended');
}

function refusedItem({ item }: WaitingItem, { result, detail }: Refusal): DoneItem {
  return { item, result, detail, failures: null };
}

function sentItem(
  item: WaitingItem,
  { attempt, origin }: NextAttempt,
  target: Target,
  partition: number,
  scanFrom: number,
): SentItem {
  return {
    item: item.item,
    dead_letter_id: item.dead_letter_id,
    attempt,
    epoch: origin.epoch,
    partition: origin.partition,
    record_offset: origin.offset,
    target_epoch: target.epoch,
    target_partition: partition,
    scan_from: scanFrom,
  };
}

/** Dry run: says of the next items what would happen, by the rules of now and the ledger as it is. */
async function judgeChunk({ database }: RepairRunnerDependencies, { job, rules }: Run): Promise<void> {
  await database.withTenant(job.tenant_id, async (client) => {
    if ((await holdRun(client, job)) !== 'running') return;
    const items = await nextItems(client, job, chunk);
    const letters = await readLetters(
      client,
      job.tenant_id,
      items.map((item) => item.dead_letter_id),
      false,
    );
    const done: DoneItem[] = [];
    for (const item of items) {
      const next = prepare(letters.get(item.dead_letter_id), rules);
      if (next.kind === 'refused') {
        done.push(refusedItem(item, next));
        continue;
      }
      const failures = failuresOf(next);
      const isTaken = failures === null && (await hasOwner(client, job.tenant_id, next));
      const result = failures !== null ? 'still_invalid' : isTaken ? 'duplicate' : 'reprocessed';
      done.push({ item: item.item, result, detail: null, failures });
    }
    await finishItems(client, job, done);
  });
}

async function hasOwner(client: Queryable, tenantId: string, { judged }: NextAttempt): Promise<boolean> {
  if (judged.kind !== 'event') return false;
  const { rowCount } = await client.query(
    'SELECT 1 FROM processed_event_ids WHERE tenant_id = $1 AND event_id = $2 AND event_source = $3',
    [tenantId, judged.eventId, ledgerSource(judged.envelope.identitySource)],
    { name: 'repair_ledger_look' },
  );
  return rowCount > 0;
}

/**
 * What an earlier run marked `sent` may be in the log or not: it is looked for from the place that the item remembers on, and appended
 * when it is not there.
 */
async function recover(dependencies: RepairRunnerDependencies, run: Run): Promise<void> {
  const { database, log } = dependencies;
  const { job, target, rules } = run;
  const { sent, letters } = await database.withTenant(job.tenant_id, async (client) => {
    await settleItems(client, job);
    const open = await sentItems(client, job);
    return {
      sent: open,
      letters: await readLetters(
        client,
        job.tenant_id,
        open.map((item) => item.dead_letter_id),
        false,
      ),
    };
  });
  if (sent.length === 0) return;
  const present = await findAttempts(log, target, job.tenant_id, sent);
  const records: LogRecord[] = [];
  for (const item of sent) {
    if (present.has(attemptKey(item))) continue;
    records.push(toRecord(composeAgain(letters.get(item.dead_letter_id), item, rules), target));
  }
  for (let start = 0; start < records.length; start += chunk.itemsMax) {
    await log.append(target.topic, records.slice(start, start + chunk.itemsMax));
  }
}

/** The attempt that was marked: the same bytes again, since a dead letter that is reprocessing keeps its row. */
function composeAgain(letter: Letter | undefined, item: SentItem, rules: Rules): NextAttempt {
  const composed = letter === undefined ? null : compose(letter, item.attempt, rules);
  if (composed?.kind === 'attempt') return composed;
  throw new Error(`attempt ${item.attempt} of the dead letter ${item.dead_letter_id} cannot be made again`);
}

function attemptKey(item: SentItem): string {
  const origin = { epoch: item.epoch, partition: item.partition, offset: item.record_offset };
  return `${formatPosition(origin)} ${item.attempt}`;
}

/** The attempts of one tenant that the raw log holds, read from the smallest place on that an item of each partition remembers. */
async function findAttempts(
  log: RepairRunnerDependencies['log'],
  target: Target,
  tenantId: string,
  sent: readonly SentItem[],
): Promise<ReadonlySet<string>> {
  const from = new Map<number, number>();
  for (const item of sent) {
    // What was meant for another log is certainly not in this one.
    if (item.target_epoch !== target.epoch) continue;
    const known = from.get(item.target_partition) ?? Number.POSITIVE_INFINITY;
    from.set(item.target_partition, Math.min(known, item.scan_from));
  }
  const found = new Set<string>();
  for (const { partition, earliest, end } of await log.bounds(target.topic)) {
    let offset = Math.max(from.get(partition) ?? end, earliest);
    while (offset < end) {
      const records = await readOn(log, target.topic, partition, offset);
      const last = records.at(-1);
      if (last === undefined) break;
      for (const { headers } of records) {
        if (headers[header.tenant] !== tenantId || headers[header.origin] === undefined) continue;
        found.add(`${headers[header.origin]} ${headers[header.attempt]}`);
      }
      offset = last.offset + 1;
    }
  }
  return found;
}

async function readOn(
  log: RepairRunnerDependencies['log'],
  topic: string,
  partition: number,
  offset: number,
) {
  try {
    return await log.read(topic, partition, offset, { recordsMax: 2_000, bytesMax: 4 * 1_048_576 });
  } catch (error) {
    // Retention was faster. What it removed had been read by process, so its verdict is there.
    if (hasCode(error, 'PULSE_LOG_OFFSET_LOST')) return [];
    throw error;
  }
}
