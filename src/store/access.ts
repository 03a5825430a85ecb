// What every read route shares: who may see which tenants, and how long Postgres may think about it.
import type { FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.ts';
import { hasCode } from '../core/errors.ts';
import type { SettingValues } from '../core/settings.ts';
import { parseTime, timeMsMin } from '../core/time.ts';
import type { Database, Queryable } from '../database/types.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import { principalOf, tenantScope } from '../tenancy/index.ts';
import type { Directory, TopicNames } from '../tenancy/types.ts';
import type { storeSettings } from './config.ts';
import { storeError } from './errors.ts';
import { queryDuration } from './metrics.ts';
import type { ReadGate } from './read-gate.ts';

/** What the routes of this room need. */
export interface StoreRouteDependencies {
  readonly database: Database;
  readonly directory: Directory;
  readonly log: EventLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    SettingValues<typeof storeSettings>,
    | 'PULSE_STORE_QUERY_TIMEOUT_MS'
    | 'PULSE_STORE_RETENTION_DAYS'
    | 'PULSE_STORE_STREAM_CLIENTS'
    | 'PULSE_STORE_STREAM_BUFFER_BYTES'
  >;
  readonly reads: ReadGate;
}

/** The tenants that a request may see: a key its own; the administrator all, or the one that `?tenant_id=` names. */
export function visibleTenants(
  request: FastifyRequest,
  dependencies: Pick<StoreRouteDependencies, 'directory'>,
): readonly string[] {
  const { tenant_id: requested } = request.query as { readonly tenant_id?: string };
  return tenantScope(principalOf(request), requested, dependencies.directory);
}

/** The topic sets that may hold events of these tenants, each once; all there are when the administrator asks for all. */
export function visibleTopicSets(
  request: FastifyRequest,
  tenantIds: readonly string[],
  { directory }: Pick<StoreRouteDependencies, 'directory'>,
): readonly TopicNames[] {
  const { tenant_id: requested } = request.query as { readonly tenant_id?: string };
  if (principalOf(request).kind === 'admin' && requested === undefined) {
    return directory.topicSets().map((set) => set.names);
  }
  const sets = new Map<string, TopicNames>();
  for (const tenantId of tenantIds) {
    const names = directory.topics(tenantId);
    sets.set(names.raw, names);
  }
  return [...sets.values()];
}

/**
 * Runs reads bound to tenants, each statement within PULSE_STORE_QUERY_TIMEOUT_MS.
 * Errors: PULSE_STORE_QUERY_TIMEOUT, PULSE_STORE_READS_FULL; those of Database.
 */
export async function read<Result>(
  dependencies: Pick<StoreRouteDependencies, 'database' | 'settings' | 'reads'>,
  query: string,
  tenantIds: readonly string[],
  work: (client: Queryable) => Promise<Result>,
): Promise<Result> {
  const timeoutMs = dependencies.settings.PULSE_STORE_QUERY_TIMEOUT_MS;
  const endTimer = queryDuration.startTimer({ query });
  try {
    // One key sees one tenant; whoever sees several is the administrator.
    const caller = tenantIds.length === 1 ? (tenantIds[0] as string) : '';
    return await dependencies.reads.run(caller, () =>
      dependencies.database.withTenants(tenantIds, async (client) => {
        await client.query("SELECT set_config('statement_timeout', $1, true)", [String(timeoutMs)]);
        return await work(client);
      }),
    );
  } catch (error) {
    if (!hasCode(error, 'PULSE_DATABASE_TIMEOUT')) throw error;
    const detail = `The search was ended after ${timeoutMs} ms.`;
    throw storeError('PULSE_STORE_QUERY_TIMEOUT', detail, { cause: error });
  } finally {
    endTimer();
  }
}

/** A time range in milliseconds since the epoch, `to` exclusive; null means unbounded. */
export interface TimeRange {
  readonly fromMs: number | null;
  readonly toMs: number | null;
}

/** Reads `from` and `to`. Errors: PULSE_STORE_RANGE_INVALID. */
export function readRange(query: { readonly from?: string; readonly to?: string }): TimeRange {
  const fromMs = readTime('from', query.from);
  const toMs = readTime('to', query.to);
  if (fromMs !== null && toMs !== null && fromMs >= toMs) {
    throw storeError('PULSE_STORE_RANGE_INVALID', `from=${query.from} is not before to=${query.to}.`);
  }
  return { fromMs, toMs };
}

/** A day before a time; never before the earliest time that Postgres and Pulse agree on. */
export function dayBefore(timeMs: number): number {
  return Math.max(timeMsMin, timeMs - 86_400_000);
}

function readTime(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const result = parseTime(text);
  if (!result.ok) throw storeError('PULSE_STORE_RANGE_INVALID', `${name}: ${result.message}.`);
  return result.timeMs;
}

/** An id or type that a caller names. U+0000 cannot be in any column, and Postgres refuses to be asked for it. */
export const nameText = { type: 'string', minLength: 1, maxLength: 1024, pattern: '^[^\\u0000]*$' } as const;

/** Query parameters that most routes share, for their schemas. */
export const commonQuery = {
  tenant_id: {
    type: 'string',
    maxLength: 63,
    description: 'One tenant; for the administrator, who sees all otherwise.',
  },
  from: { type: 'string', maxLength: 64, description: 'Received at or after this RFC 3339 time.' },
  to: { type: 'string', maxLength: 64, description: 'Received before this RFC 3339 time.' },
} as const;
