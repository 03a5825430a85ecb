// The table of repair jobs: what was asked, how far it is, and the moves between its states.
import type { Queryable } from '../../database/types.ts';
import type { DeadLetterFilter } from '../dead-letters/queries.ts';
import type { ItemResult } from './letters.ts';

export const jobStates = ['queued', 'running', 'cancelling', 'cancelled', 'succeeded', 'failed'] as const;
export type JobState = (typeof jobStates)[number];

/** Which dead letters a job is for. */
export type Selection = { readonly ids: readonly string[] } | { readonly filter: DeadLetterFilter };

/** A job as its row. */
export interface Job {
  readonly tenant_id: string;
  readonly job_id: string;
  readonly state: JobState;
  readonly dry_run: boolean;
  readonly selection: Selection;
  readonly patch: Buffer | null;
  readonly actor: string;
  readonly run: number;
  readonly total: number | null;
  readonly truncated: boolean;
  readonly error: string | null;
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly finished_at: Date | null;
}

const columns = `tenant_id, job_id, state, dry_run, selection, patch, actor, run, total, truncated, error, created_at, started_at,
  finished_at`;

export interface NewJob {
  readonly tenantId: string;
  readonly jobId: string;
  readonly dryRun: boolean;
  readonly selection: Selection;
  readonly patch: Buffer | null;
  readonly actor: string;
  readonly nowMs: number;
}

export async function insertJob(client: Queryable, job: NewJob): Promise<void> {
  await client.query(
    `INSERT INTO repair_jobs (tenant_id, job_id, dry_run, selection, patch, actor, created_at)
     VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7)`,
    [
      job.tenantId,
      job.jobId,
      job.dryRun,
      JSON.stringify(job.selection),
      job.patch,
      job.actor,
      new Date(job.nowMs),
    ],
  );
}

/** Jobs that are not at an end. */
export async function countUnfinished(client: Queryable, tenantId: string): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    `SELECT count(*) AS count FROM repair_jobs WHERE tenant_id = $1 AND state IN ('queued', 'running', 'cancelling')`,
    [tenantId],
  );
  return rows[0]?.count ?? 0;
}

export async function readJob(
  client: Queryable,
  tenantIds: readonly string[],
  jobId: string,
): Promise<Job | null> {
  const { rows } = await client.query<Job>(
    `SELECT ${columns} FROM repair_jobs WHERE tenant_id = ANY ($1) AND job_id = $2`,
    [tenantIds, jobId],
  );
  return rows[0] ?? null;
}

/** Jobs, newest first. */
export async function listJobs(
  client: Queryable,
  tenantIds: readonly string[],
  page: {
    readonly limit: number;
    readonly after: { readonly createdAtMs: number; readonly id: string } | null;
  },
): Promise<readonly Job[]> {
  const { limit, after } = page;
  const { rows } = await client.query<Job>(
    `SELECT ${columns} FROM repair_jobs WHERE tenant_id = ANY ($1)
       AND ($2::timestamptz IS NULL OR (created_at, job_id) < ($2::timestamptz, $3::uuid))
     ORDER BY created_at DESC, job_id DESC LIMIT $4`,
    [tenantIds, after === null ? null : new Date(after.createdAtMs), after?.id ?? null, limit],
  );
  return rows;
}

/** Unfinished jobs of these tenants, for a front that starts. */
export async function unfinishedJobs(
  client: Queryable,
): Promise<readonly Pick<Job, 'tenant_id' | 'job_id' | 'run'>[]> {
  const { rows } = await client.query<Pick<Job, 'tenant_id' | 'job_id' | 'run'>>(
    `SELECT tenant_id, job_id, run FROM repair_jobs WHERE state IN ('queued', 'running', 'cancelling') ORDER BY created_at`,
  );
  return rows;
}

/** Moves a job from one of some states to another; false when it is in none of them. */
export async function moveJob(
  client: Queryable,
  job: Pick<Job, 'tenant_id' | 'job_id'>,
  from: readonly JobState[],
  to: JobState,
): Promise<boolean> {
  const isEnd = to === 'cancelled' || to === 'succeeded' || to === 'failed';
  const { rowCount } = await client.query(
    `UPDATE repair_jobs SET state = $4, finished_at = CASE WHEN $5 THEN now() END
     WHERE tenant_id = $1 AND job_id = $2 AND state = ANY ($3)`,
    [job.tenant_id, job.job_id, from, to, isEnd],
  );
  return rowCount === 1;
}

/** Begins a run: the newest run alone may go on with the job. Null when there is nothing to do for it. */
export async function beginRun(client: Queryable, tenantId: string, jobId: string): Promise<Job | null> {
  const { rows } = await client.query<Job>(
    `UPDATE repair_jobs SET run = run + 1, started_at = coalesce(started_at, now()), error = NULL,
       state = CASE state WHEN 'queued' THEN 'running' ELSE state END
     WHERE tenant_id = $1 AND job_id = $2 AND state IN ('queued', 'running', 'cancelling') RETURNING ${columns}`,
    [tenantId, jobId],
  );
  return rows[0] ?? null;
}

/** The state of a job while this run is its newest one; null when a newer one has begun. Keeps it until the transaction ends. */
export async function holdRun(client: Queryable, job: Job): Promise<JobState | null> {
  const { rows } = await client.query<{ state: JobState }>(
    'SELECT state FROM repair_jobs WHERE tenant_id = $1 AND job_id = $2 AND run = $3 FOR UPDATE',
    [job.tenant_id, job.job_id, job.run],
  );
  return rows[0]?.state ?? null;
}

/** Notes why a run ended early. */
export async function noteError(client: Queryable, job: Job, error: string): Promise<void> {
  await client.query('UPDATE repair_jobs SET error = $4 WHERE tenant_id = $1 AND job_id = $2 AND run = $3', [
    job.tenant_id,
    job.job_id,
    job.run,
    error.slice(0, 500),
  ]);
}

/** How far the items of jobs are. */
export interface Progress {
  readonly waiting: number;
  readonly sent: number;
  readonly results: Readonly<Partial<Record<ItemResult, number>>>;
}

/** Counts the items of jobs, by job id. */
export async function readProgress(
  client: Queryable,
  jobs: readonly Pick<Job, 'tenant_id' | 'job_id'>[],
): Promise<ReadonlyMap<string, Progress>> {
  const { rows } = await client.query<{
    job_id: string;
    state: string;
    result: ItemResult | null;
    count: number;
  }>(
    `SELECT job_id, state, result, count(*) AS count FROM repair_items
     WHERE tenant_id = ANY ($1) AND job_id = ANY ($2::uuid[]) GROUP BY job_id, state, result`,
    [jobs.map((job) => job.tenant_id), jobs.map((job) => job.job_id)],
  );
  const progress = new Map<string, Progress>();
  for (const { job_id: id, state, result, count } of rows) {
    const known = progress.get(id) ?? { waiting: 0, sent: 0, results: {} };
    if (state === 'waiting') progress.set(id, { ...known, waiting: count });
    else if (state === 'sent') progress.set(id, { ...known, sent: count });
    else if (result !== null) progress.set(id, { ...known, results: { ...known.results, [result]: count } });
  }
  return progress;
}
