// The repair queue: what routes ask of it, and the worker that runs its jobs.
import type { Clock } from '../../core/clock.ts';
import { uuidv7 } from '../../core/ids.ts';
import type { Database, Queryable } from '../../database/types.ts';
import type { EventLog } from '../../ports/event-log/event-log.ts';
import type { TaskQueue } from '../../ports/task-queue/task-queue.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type Actor, auditChains, lockChains, recordAct } from '../../tenancy/audit.ts';
import type { Directory } from '../../tenancy/types.ts';
import type { ProcessSettings } from '../config.ts';
import { type DeadLetterFilter, whereOf } from '../dead-letters/queries.ts';
import { processError } from '../errors.ts';
import {
  countUnfinished,
  insertJob,
  type Job,
  type JobState,
  moveJob,
  noteError,
  readJob,
  type Selection,
  unfinishedJobs,
} from './jobs.ts';
import type { Target } from './letters.ts';
import { runJob } from './runner.ts';

const task = 'repair';
const workOptions = {
  attemptsMax: 10,
  retryDelayMs: 1_000,
  retryDelayMaxMs: 60_000,
  concurrency: 2,
} as const;

export interface RepairDependencies {
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenant' | 'tenants'>;
  readonly log: Pick<EventLog, 'append' | 'bounds' | 'read'>;
  /** The raw topic of a tenant; this process must be its writer. */
  readonly rawTopic: (tenantId: string) => Promise<Target>;
  readonly tasks: TaskQueue;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    ProcessSettings,
    'PULSE_PROCESS_REPAIR_ATTEMPTS' | 'PULSE_PROCESS_REPAIR_ITEMS' | 'PULSE_PROCESS_REPAIR_JOBS'
  >;
}

export interface RepairRequest {
  readonly tenantId: string;
  readonly actor: Actor;
  readonly selection: Selection;
  /** The patch's own bytes, checked by `parsePatch` before. */
  readonly patch: Buffer | null;
  readonly dryRun: boolean;
}

/** Works on repair jobs until the task queue closes; jobs that an earlier process left unfinished go on. */
export async function startRepair(dependencies: RepairDependencies): Promise<void> {
  const { database, directory, tasks, logger } = dependencies;
  await tasks.work(task, workOptions, async ({ ids, isLastAttempt, signal }) => {
    const job = { tenantId: ids['tenant_id'] ?? '', jobId: ids['job_id'] ?? '' };
    try {
      await runJob(dependencies, job, signal);
    } catch (error) {
      logger.warn({ err: error, job_id: job.jobId, tenant_id: job.tenantId }, 'a repair job was interrupted');
      await database.withTenant(job.tenantId, (client) => endEarly(client, job, error, isLastAttempt));
      throw error;
    }
  });
  const tenantIds = directory.tenants().map((tenant) => tenant.tenantId);
  const left = await database.withTenants(tenantIds, unfinishedJobs);
  for (const job of left) await enqueue(dependencies, job);
}

async function endEarly(
  client: Queryable,
  { tenantId, jobId }: { readonly tenantId: string; readonly jobId: string },
  error: unknown,
  isLast: boolean,
): Promise<void> {
  const job = await readJob(client, [tenantId], jobId);
  if (job === null) return;
  await noteError(client, job, error instanceof Error ? error.message : String(error));
  if (isLast) await moveJob(client, job, ['running', 'queued', 'cancelling'], 'failed');
}

/** One task for each run: the key names how many runs were before it. */
async function enqueue(
  { tasks, clock }: Pick<RepairDependencies, 'tasks' | 'clock'>,
  job: Pick<Job, 'tenant_id' | 'job_id' | 'run'>,
): Promise<void> {
  const ids = { tenant_id: job.tenant_id, job_id: job.job_id };
  await tasks.enqueue(task, ids, { key: `${job.job_id}.${job.run}`, runAtMs: clock.now() });
}

/**
 * Remembers a job, audits it, and lets it begin.
 * Errors: PULSE_PROCESS_JOBS_TOO_MANY.
 */
export async function requestRepair(dependencies: RepairDependencies, request: RepairRequest): Promise<Job> {
  const { clock, settings } = dependencies;
  const { tenantId, actor, selection, patch, dryRun } = request;
  const nowMs = clock.now();
  const jobId = uuidv7(nowMs);
  const job = await audited(dependencies, tenantId, actor, async (client) => {
    const unfinished = await countUnfinished(client, tenantId);
    if (unfinished >= settings.PULSE_PROCESS_REPAIR_JOBS) {
      throw processError(
        'PULSE_PROCESS_JOBS_TOO_MANY',
        `The tenant has ${unfinished} unfinished repair jobs.`,
      );
    }
    await insertJob(client, { tenantId, jobId, dryRun, selection, patch, actor: actor.name, nowMs });
    const created = await readJob(client, [tenantId], jobId);
    if (created === null) throw new Error(`job ${jobId} vanished`);
    const details = { ...summary(selection), patched: patch !== null, dry_run: dryRun };
    return { result: created, act: { action: 'dead_letters.reprocess', target: jobId, details } };
  });
  await enqueue(dependencies, job);
  return job;
}

function summary(selection: Selection): Record<string, unknown> {
  if ('ids' in selection) return { ids: selection.ids.slice(0, 20), ids_count: selection.ids.length };
  const { fromMs, toMs, ...names } = selection.filter;
  const filter: Record<string, unknown> = { ...names, from_ms: fromMs, to_ms: toMs };
  return { filter: Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== null)) };
}

/** Ends a job at the next chunk; attempts that are in the log already are waited for. Errors: PULSE_PROCESS_JOB_UNKNOWN, _STATE. */
export async function cancelJob(
  dependencies: RepairDependencies,
  tenantId: string,
  jobId: string,
  actor: Actor,
): Promise<Job> {
  const { job } = await change(
    dependencies,
    tenantId,
    jobId,
    actor,
    'cancel',
    ['queued', 'running'],
    'cancelling',
  );
  return job;
}

/** Goes on with what a cancelled or failed job has left. Errors: PULSE_PROCESS_JOB_UNKNOWN, _STATE. */
export async function resumeJob(
  dependencies: RepairDependencies,
  tenantId: string,
  jobId: string,
  actor: Actor,
): Promise<Job> {
  const { job } = await change(
    dependencies,
    tenantId,
    jobId,
    actor,
    'resume',
    ['cancelled', 'failed'],
    'queued',
  );
  await enqueue(dependencies, job);
  return job;
}

async function change(
  dependencies: RepairDependencies,
  tenantId: string,
  jobId: string,
  actor: Actor,
  verb: 'cancel' | 'resume',
  from: readonly JobState[],
  to: JobState,
): Promise<{ readonly job: Job }> {
  return await audited(dependencies, tenantId, actor, async (client) => {
    const before = await readJob(client, [tenantId], jobId);
    if (before === null) throw processError('PULSE_PROCESS_JOB_UNKNOWN', `There is no job '${jobId}'.`);
    if (!(await moveJob(client, before, from, to))) {
      throw processError(
        'PULSE_PROCESS_JOB_STATE',
        `The job is ${before.state}; ${verb} takes ${from.join(' or ')}.`,
      );
    }
    const act = { action: `repair_job.${verb}`, target: jobId, details: { was: before.state } };
    return { result: { job: { ...before, state: to, finished_at: null } }, act };
  });
}

/** Most dead letters that one call discards; a larger filter is called again. */
const discardMax = 10_000;

/**
 * Discards open dead letters: nothing will be reprocessed of them any more. They stay dead letters in the reconciliation.
 * Returns how many were discarded; `more` when the filter matches further ones.
 */
export async function discardLetters(
  dependencies: Pick<RepairDependencies, 'database' | 'clock'>,
  request: {
    readonly tenantId: string;
    readonly actor: Actor;
    readonly selection: Selection;
    readonly reason: string;
  },
): Promise<{ readonly discarded: number; readonly more: boolean }> {
  const { tenantId, actor, selection, reason } = request;
  return await audited(dependencies, tenantId, actor, async (client) => {
    const { where, values } = selectionOf(tenantId, selection);
    const matching = `FROM dead_letters WHERE ${where.join(' AND ')} AND state = 'open'`;
    const matched = [...values];
    values.push(reason, discardMax);
    const { rowCount } = await client.query(
      `WITH taken AS (SELECT dead_letter_id ${matching} ORDER BY received_at, dead_letter_id LIMIT $${values.length})
       UPDATE dead_letters d SET state = 'discarded', discard_reason = $${values.length - 1}
       FROM taken WHERE d.tenant_id = ($1::text[])[1] AND d.dead_letter_id = taken.dead_letter_id AND d.state = 'open'`,
      values,
    );
    const left = await client.query(`SELECT 1 ${matching} LIMIT 1`, matched);
    const result = { discarded: rowCount, more: left.rowCount > 0 };
    const details = { ...summary(selection), reason, discarded: rowCount };
    return { result, act: { action: 'dead_letters.discard', target: tenantId, details } };
  });
}

function selectionOf(
  tenantId: string,
  selection: Selection,
): { readonly where: string[]; readonly values: unknown[] } {
  const anything: DeadLetterFilter = {
    code: null,
    stage: null,
    event_type: null,
    event_id: null,
    fingerprint: null,
    fromMs: null,
    toMs: null,
  };
  const found = whereOf([tenantId], 'filter' in selection ? selection.filter : anything);
  if ('ids' in selection) {
    found.values.push(selection.ids);
    found.where.push(`dead_letter_id = ANY ($${found.values.length}::uuid[])`);
  }
  return found;
}

/** Does something to a tenant's dead letters and records it, or does neither. */
async function audited<Result>(
  { database, clock }: Pick<RepairDependencies, 'database' | 'clock'>,
  tenantId: string,
  actor: Actor,
  work: (client: Queryable) => Promise<{
    readonly result: Result;
    readonly act: {
      readonly action: string;
      readonly target: string;
      readonly details: Readonly<Record<string, unknown>>;
    };
  }>,
): Promise<Result> {
  const chains = auditChains(tenantId, actor);
  return await database.withTenants([...new Set([tenantId, ...chains])], async (client) => {
    await lockChains(client, chains);
    const { result, act } = await work(client);
    await recordAct(client, { ...act, actor, atMs: clock.now(), tenantId });
    return result;
  });
}
