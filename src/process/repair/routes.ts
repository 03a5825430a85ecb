// POST /v1/dead-letters/reprocess and /discard; /v1/jobs.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { decodeCursor, encodeCursor } from '../../core/cursor.ts';
import { objectMembers, skipSpace } from '../../core/json-scan.ts';
import { timeMsMax, timeMsMin } from '../../core/time.ts';
import type { Queryable } from '../../database/types.ts';
import { actorOf } from '../../tenancy/audit.ts';
import { principalOf, requireScope, tenantScope } from '../../tenancy/index.ts';
import { limitTime } from '../dead-letters/queries.ts';
import { uuidPattern } from '../dead-letters/route-schemas.ts';
import { type FilterQuery, filterOf } from '../dead-letters/routes.ts';
import { processError } from '../errors.ts';
import { platformTenantId } from '../steps/identify.ts';
import { type Job, listJobs, readJob, readProgress, type Selection } from './jobs.ts';
import { type ItemRecord, itemJson, jobJson } from './json.ts';
import { parsePatch } from './patch.ts';
import { cancelJob, discardLetters, type RepairDependencies, requestRepair, resumeJob } from './repair.ts';
import * as schemas from './route-schemas.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The body's own bytes; only where a route keeps number tokens. */
    bodyBytes?: Buffer;
  }
}

interface SelectionBody {
  readonly ids?: readonly string[];
  readonly filter?: FilterQuery;
}

/** Registers the repair routes; `registerAuthentication` must have run on the application. */
export function registerRepairRoutes(app: FastifyInstance, dependencies: RepairDependencies): void {
  // In a scope of its own: JSON.parse rounds the numbers of a patch, so its bytes are kept beside the parsed body.
  void app.register((scope, _options, done) => {
    const parse = scope.getDefaultJsonParser('error', 'error');
    scope.removeContentTypeParser('application/json');
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, parsed) => {
      request.bodyBytes = body as Buffer;
      void parse(request, body.toString('utf8'), parsed);
    });
    registerActs(scope, dependencies);
    done();
  });
  registerReads(app, dependencies);
}

function registerActs(app: FastifyInstance, dependencies: RepairDependencies): void {
  const onRequest = requireScope('admin');

  app.post('/v1/dead-letters/reprocess', { onRequest, schema: schemas.reprocess }, async (request, reply) => {
    const body = request.body as SelectionBody & { readonly patch?: unknown; readonly dry_run: boolean };
    const tenantId = oneTenant(request, dependencies);
    if (tenantId === platformTenantId) {
      throw processError(
        'PULSE_PROCESS_REPAIR_INVALID',
        'Dead letters without a tenant cannot be reprocessed.',
      );
    }
    const patch = body.patch === undefined ? null : memberBytes(request, 'patch');
    if (patch !== null) parsePatch(patch);
    const job = await requestRepair(dependencies, {
      tenantId,
      actor: actorOf(principalOf(request), request.id),
      selection: selectionOf(body),
      patch,
      dryRun: body.dry_run,
    });
    return await reply.code(202).header('location', `/v1/jobs/${job.job_id}`).send(jobJson(job, undefined));
  });

  app.post('/v1/dead-letters/discard', { onRequest, schema: schemas.discard }, async (request) => {
    const body = request.body as SelectionBody & { readonly reason: string };
    return await discardLetters(dependencies, {
      tenantId: oneTenant(request, dependencies),
      actor: actorOf(principalOf(request), request.id),
      selection: selectionOf(body),
      reason: body.reason,
    });
  });
}

function registerReads(app: FastifyInstance, dependencies: RepairDependencies): void {
  const read = requireScope('read');
  const admin = requireScope('admin');

  app.get('/v1/jobs', { onRequest: read, schema: schemas.list }, async (request) => {
    const { limit, cursor } = request.query as { readonly limit: number; readonly cursor?: string };
    const after = jobPlaceOf(cursor);
    return await reading(request, dependencies, async (client, tenantIds) => {
      const jobs = await listJobs(client, tenantIds, { limit: limit + 1, after });
      const shown = jobs.slice(0, limit);
      const progress = await readProgress(client, shown);
      const last = shown.at(-1);
      return {
        jobs: shown.map((job) => jobJson(job, progress.get(job.job_id))),
        next_cursor:
          jobs.length > limit && last !== undefined
            ? encodeCursor([last.created_at.getTime(), last.job_id])
            : null,
      };
    });
  });

  app.get('/v1/jobs/:job_id', { onRequest: read, schema: schemas.one }, async (request) => {
    return await reading(request, dependencies, async (client, tenantIds) => {
      const job = await jobOf(client, tenantIds, request);
      return await shownJob(client, job);
    });
  });

  app.get('/v1/jobs/:job_id/items', { onRequest: read, schema: schemas.items }, async (request) => {
    const query = request.query as {
      readonly result?: string;
      readonly limit: number;
      readonly cursor?: string;
    };
    const after = itemPlaceOf(query.cursor);
    return await reading(request, dependencies, async (client, tenantIds) => {
      const job = await jobOf(client, tenantIds, request);
      const { rows } = await client.query<ItemRecord>(
        `SELECT item, dead_letter_id, state, result, detail, failures, attempt, epoch, partition, record_offset FROM repair_items
         WHERE tenant_id = $1 AND job_id = $2 AND item > $3 AND ($4::text IS NULL OR result = $4) ORDER BY item LIMIT $5`,
        [job.tenant_id, job.job_id, after, query.result ?? null, query.limit + 1],
      );
      const shown = rows.slice(0, query.limit);
      const last = shown.at(-1);
      return {
        items: shown.map((item) => itemJson(job.tenant_id, item)),
        next_cursor: rows.length > query.limit && last !== undefined ? encodeCursor([last.item]) : null,
      };
    });
  });

  const acts = [
    ['cancel', schemas.cancel, cancelJob],
    ['resume', schemas.resume, resumeJob],
  ] as const;
  for (const [verb, schema, act] of acts) {
    app.post(`/v1/jobs/:job_id/${verb}`, { onRequest: admin, schema }, async (request, reply) => {
      const job = await reading(request, dependencies, (client, tenantIds) =>
        jobOf(client, tenantIds, request),
      );
      const actor = actorOf(principalOf(request), request.id);
      await act(dependencies, job.tenant_id, job.job_id, actor);
      const shown = await dependencies.database.withTenant(job.tenant_id, async (client) =>
        shownJob(client, (await readJob(client, [job.tenant_id], job.job_id)) ?? job),
      );
      return await reply.code(202).send(shown);
    });
  }
}

async function shownJob(client: Queryable, job: Job) {
  return jobJson(job, (await readProgress(client, [job])).get(job.job_id));
}

async function jobOf(client: Queryable, tenantIds: readonly string[], request: FastifyRequest): Promise<Job> {
  const { job_id: jobId } = request.params as { readonly job_id: string };
  const job = uuidPattern.test(jobId) ? await readJob(client, tenantIds, jobId) : null;
  if (job === null) throw processError('PULSE_PROCESS_JOB_UNKNOWN', `There is no job '${jobId}'.`);
  return job;
}

async function reading<Result>(
  request: FastifyRequest,
  { database, directory }: RepairDependencies,
  work: (client: Queryable, tenantIds: readonly string[]) => Promise<Result>,
): Promise<Result> {
  const { tenant_id: requested } = request.query as { readonly tenant_id?: string };
  const tenantIds = tenantScope(principalOf(request), requested, directory);
  return await database.withTenants(tenantIds, async (client) => {
    await limitTime(client);
    return await work(client, tenantIds);
  });
}

/** The tenant that an act is for: that of the key, or the one that the administrator names. */
function oneTenant(request: FastifyRequest, { directory }: RepairDependencies): string {
  const { tenant_id: requested } = request.query as { readonly tenant_id?: string };
  const principal = principalOf(request);
  if (principal.kind === 'key') return tenantScope(principal, requested, directory)[0] as string;
  if (requested === undefined) {
    throw processError(
      'PULSE_PROCESS_REPAIR_INVALID',
      'The administrator names the tenant with ?tenant_id=.',
    );
  }
  if (requested === platformTenantId) return requested;
  return tenantScope(principal, requested, directory)[0] as string;
}

function selectionOf({ ids, filter }: SelectionBody): Selection {
  if ((ids === undefined) === (filter === undefined)) {
    throw processError('PULSE_PROCESS_REPAIR_INVALID', 'Send either ids or filter.');
  }
  return ids === undefined ? { filter: filterOf(filter ?? {}) } : { ids };
}

/** A copy of the bytes of one member of the body. */
function memberBytes(request: FastifyRequest, name: string): Buffer | null {
  const bytes = request.bodyBytes;
  if (bytes === undefined) throw new Error('the route keeps no bytes of its body');
  const range = objectMembers(bytes, skipSpace(bytes, 0)).get(name);
  return range === undefined ? null : Buffer.from(bytes.subarray(range.start, range.end));
}

function jobPlaceOf(
  cursor: string | undefined,
): { readonly createdAtMs: number; readonly id: string } | null {
  if (cursor === undefined) return null;
  const [createdAtMs, id] = (decodeCursor(cursor, ['number', 'string']) ?? []) as [number?, string?];
  const isTime = createdAtMs !== undefined && createdAtMs >= timeMsMin && createdAtMs <= timeMsMax;
  if (!isTime || !Number.isInteger(createdAtMs) || id === undefined || !uuidPattern.test(id))
    throw noCursor(cursor);
  return { createdAtMs, id };
}

function itemPlaceOf(cursor: string | undefined): number {
  if (cursor === undefined) return 0;
  const [item] = (decodeCursor(cursor, ['number']) ?? []) as [number?];
  if (item === undefined || !Number.isInteger(item) || item < 0 || item > 2_147_483_647)
    throw noCursor(cursor);
  return item;
}

function noCursor(cursor: string): Error {
  return processError('PULSE_PROCESS_CURSOR_INVALID', `'${cursor.slice(0, 100)}' is no cursor of this list.`);
}
