// GET /v1/dead-letters, /groups, /sample and /{id}.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { decodeCursor, encodeCursor } from '../../core/cursor.ts';
import { parseTime, timeMsMax, timeMsMin } from '../../core/time.ts';
import type { Database, Queryable } from '../../database/types.ts';
import { principalOf, requireScope, tenantScope } from '../../tenancy/index.ts';
import type { Directory } from '../../tenancy/types.ts';
import { processError } from '../errors.ts';
import { platformTenantId } from '../steps/identify.ts';
import { deadLetterJson, groupJson, pageJson } from './json.ts';
import {
  type DeadLetterFilter,
  groupDeadLetters,
  limitTime,
  listDeadLetters,
  type Place,
  readDeadLetter,
} from './queries.ts';
import * as schemas from './route-schemas.ts';

export interface DeadLetterRouteDependencies {
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenant' | 'tenants'>;
}

/** A filter of dead letters as it comes in. */
export interface FilterQuery {
  readonly code?: string;
  readonly stage?: string;
  readonly event_type?: string;
  readonly event_id?: string;
  readonly fingerprint?: string;
  readonly from?: string;
  readonly to?: string;
}

interface ListQuery extends FilterQuery {
  readonly limit: number;
  readonly cursor?: string;
}

const json = 'application/json; charset=utf-8';

/** Registers the routes that read dead letters; `registerAuthentication` must have run on the application. */
export function registerDeadLetterRoutes(
  app: FastifyInstance,
  dependencies: DeadLetterRouteDependencies,
): void {
  const onRequest = requireScope('read');

  app.get('/v1/dead-letters', { onRequest, schema: schemas.list }, async (request, reply) => {
    const query = request.query as ListQuery;
    return await reply.type(json).send(await page(request, dependencies, query, placeOf(query.cursor)));
  });

  app.get('/v1/dead-letters/sample', { onRequest, schema: schemas.sample }, async (request, reply) => {
    return await reply.type(json).send(await page(request, dependencies, request.query as ListQuery, null));
  });

  app.get('/v1/dead-letters/groups', { onRequest, schema: schemas.groups }, async (request) => {
    const query = request.query as ListQuery;
    const filter = filterOf(query);
    const groups = await read(request, dependencies, (client, tenantIds) =>
      groupDeadLetters(client, tenantIds, filter, query.limit),
    );
    return { groups: groups.slice(0, query.limit).map(groupJson), truncated: groups.length > query.limit };
  });

  app.get('/v1/dead-letters/:id', { onRequest, schema: schemas.one }, async (request, reply) => {
    const { id } = request.params as { readonly id: string };
    const found = schemas.uuidPattern.test(id)
      ? await read(request, dependencies, (client, tenantIds) => readDeadLetter(client, tenantIds, id))
      : null;
    if (found === null)
      throw processError('PULSE_PROCESS_DEAD_LETTER_UNKNOWN', `There is no dead letter '${id}'.`);
    return await reply.type(json).send(deadLetterJson(found));
  });
}

async function page(
  request: FastifyRequest,
  dependencies: DeadLetterRouteDependencies,
  query: ListQuery,
  after: Place | null,
): Promise<string> {
  const filter = filterOf(query);
  const { deadLetters, hasMore } = await read(request, dependencies, (client, tenantIds) =>
    listDeadLetters(client, tenantIds, filter, { limit: query.limit, after }),
  );
  const last = deadLetters.at(-1);
  const cursor = hasMore && last !== undefined ? encodeCursor([last.received_at.getTime(), last.id]) : null;
  return pageJson(deadLetters, cursor);
}

async function read<Result>(
  request: FastifyRequest,
  { database, directory }: DeadLetterRouteDependencies,
  work: (client: Queryable, tenantIds: readonly string[]) => Promise<Result>,
): Promise<Result> {
  const tenantIds = visibleTenants(request, directory);
  return await database.withTenants(tenantIds, async (client) => {
    await limitTime(client);
    return await work(client, tenantIds);
  });
}

/** As everywhere, and for the administrator also what belongs to nobody. */
function visibleTenants(
  request: FastifyRequest,
  directory: DeadLetterRouteDependencies['directory'],
): readonly string[] {
  const { tenant_id: requested } = request.query as { readonly tenant_id?: string };
  const principal = principalOf(request);
  if (principal.kind === 'key') return tenantScope(principal, requested, directory);
  if (requested === platformTenantId) return [platformTenantId];
  const tenantIds = tenantScope(principal, requested, directory);
  return requested === undefined ? [...tenantIds, platformTenantId] : tenantIds;
}

/** Reads a filter. Errors: PULSE_PROCESS_FILTER_INVALID. */
export function filterOf(query: FilterQuery): DeadLetterFilter {
  const fromMs = timeOf('from', query.from);
  const toMs = timeOf('to', query.to);
  if (fromMs !== null && toMs !== null && fromMs >= toMs) {
    throw processError('PULSE_PROCESS_FILTER_INVALID', `from=${query.from} is not before to=${query.to}.`);
  }
  return {
    code: query.code ?? null,
    stage: query.stage ?? null,
    event_type: query.event_type ?? null,
    event_id: query.event_id ?? null,
    fingerprint: query.fingerprint ?? null,
    fromMs,
    toMs,
  };
}

function timeOf(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const time = parseTime(text);
  if (!time.ok) throw processError('PULSE_PROCESS_FILTER_INVALID', `${name}: ${time.message}.`);
  return time.timeMs;
}

function placeOf(cursor: string | undefined): Place | null {
  if (cursor === undefined) return null;
  const [receivedAtMs, id] = (decodeCursor(cursor, ['number', 'string']) ?? []) as [number?, string?];
  const isTime = receivedAtMs !== undefined && receivedAtMs >= timeMsMin && receivedAtMs <= timeMsMax;
  if (!isTime || !Number.isInteger(receivedAtMs) || id === undefined || !schemas.uuidPattern.test(id)) {
    throw processError(
      'PULSE_PROCESS_CURSOR_INVALID',
      `'${cursor.slice(0, 100)}' is no cursor of this list.`,
    );
  }
  return { receivedAtMs, id };
}
