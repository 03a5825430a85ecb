// HTTP routes that report: usage and the audit log.
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../core/clock.ts';
import { encodeCursor } from '../core/cursor.ts';
import { tenantIdPattern } from '../core/envelope.ts';
import { formatTime, parseTime } from '../core/time.ts';
import type { Database } from '../database/types.ts';
import { type AuditRow, listAuditRows } from './audit.ts';
import { platformChain } from './audit-chain.ts';
import { QueryInput } from './query-input.ts';
import { principalOf, requireScope } from './request-authentication.ts';
import * as schemas from './route-schemas.ts';
import { tenantScope } from './scopes.ts';
import type { Directory, Principal } from './types.ts';
import { readUsage, type UsageCursor, type UsageRow } from './usage.ts';
import { verifyAudit } from './verify-audit.ts';

const usageDaysDefault = 30;
const usageDaysMax = 366;

export interface ReportDependencies {
  readonly database: Database;
  readonly directory: Directory;
  readonly clock: Clock;
}

/** Registers `GET /v1/usage`, `GET /v1/audit` and `GET /v1/audit/verify`. */
export function registerReportRoutes(app: FastifyInstance, dependencies: ReportDependencies): void {
  const { database, directory, clock } = dependencies;

  app.get(
    '/v1/usage',
    { ...schemas.describedOnly, schema: schemas.usageSchema, onRequest: requireScope('read') },
    async (request) => {
      const query = new QueryInput(request.query);
      const range = query.range(clock.now(), usageDaysDefault, usageDaysMax);
      const requested = query.text('tenant_id');
      const limit = query.limit();
      const after = usageCursor(query);
      query.finish();
      const tenantIds = tenantScope(principalOf(request), requested, directory);
      const rows = await readUsage(database, tenantIds, range, { after, limit });
      const last = rows.length === limit ? rows.at(-1) : undefined;
      return {
        from: formatTime(range.fromMs),
        to: formatTime(range.toMs),
        usage: rows.map(usageJson),
        next_cursor: last === undefined ? null : encodeCursor([last.tenantId, last.day]),
      };
    },
  );

  app.get(
    '/v1/audit',
    { ...schemas.describedOnly, schema: schemas.auditSchema, onRequest: requireScope('admin') },
    async (request) => {
      const query = new QueryInput(request.query);
      const filter = {
        below:
          query.cursor<[number]>(['number'], ([sequence]) => Number.isSafeInteger(sequence))?.[0] ?? null,
        fromMs: query.time('from'),
        toMs: query.time('to'),
      };
      const requested = query.text('tenant_id');
      const limit = query.limit();
      query.finish();
      const chain = auditChain(principalOf(request), requested, directory);
      const rows = await listAuditRows(database, chain, filter, limit);
      const last = rows.length === limit ? rows.at(-1) : undefined;
      return {
        entries: rows.map(auditJson),
        next_cursor: last === undefined ? null : encodeCursor([last.sequence]),
      };
    },
  );

  app.get(
    '/v1/audit/verify',
    { ...schemas.describedOnly, schema: schemas.verifyAuditSchema, onRequest: requireScope('admin') },
    async (request) => {
      const query = new QueryInput(request.query);
      const requested = query.text('tenant_id');
      query.finish();
      const principal = principalOf(request);
      const isEverything = principal.kind === 'admin' && requested === null;
      const chains = isEverything
        ? [platformChain, ...tenantScope(principal, null, directory)]
        : [auditChain(principal, requested, directory)];
      const verdicts = await verifyAudit(database, chains);
      return {
        whole: verdicts.every((verdict) => verdict.broken === null),
        chains: verdicts.map((verdict) => ({
          chain: verdict.chain,
          rows: verdict.rows,
          head_hash: verdict.headHash,
          broken: verdict.broken,
        })),
      };
    },
  );
}

/** The chain that a request reads: a key's own; for the administrator the platform's, unless it names a tenant. */
function auditChain(principal: Principal, requested: string | null, directory: Directory): string {
  const isPlatform = principal.kind === 'admin' && (requested === null || requested === platformChain);
  return isPlatform ? platformChain : (tenantScope(principal, requested, directory)[0] as string);
}

function usageCursor(query: QueryInput): UsageCursor | null {
  const values = query.cursor<[string, string]>(
    ['string', 'string'],
    ([tenantId, day]) => tenantIdPattern.test(tenantId) && parseTime(`${day}T00:00:00Z`).ok,
  );
  return values === null ? null : { tenantId: values[0], day: values[1] };
}

function usageJson(row: UsageRow): Record<string, unknown> {
  return {
    tenant_id: row.tenantId,
    day: row.day,
    events: row.events,
    bytes: row.bytes,
    stored_rows: row.storedRows,
  };
}

function auditJson(row: AuditRow): Record<string, unknown> {
  return {
    tenant_id: row.tenantId,
    sequence: row.sequence,
    occurred_at: row.at,
    actor: row.actor,
    action: row.action,
    target: row.target,
    details: row.details,
    previous_hash: row.previousHash,
    hash: row.hash,
  };
}
