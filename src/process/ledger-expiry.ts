// Forgets event ids that are too old, or too many, in small batches beside the running claims.
import type { Clock } from '../core/clock.ts';
import type { Database } from '../database/types.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import type { ProcessSettings } from './config.ts';
import { removeUpTo } from './expiry.ts';
import { expiredRows, ledgerHorizonSeconds, ledgerRows } from './metrics.ts';
import { createRepeater } from './repeater.ts';

/** The hash partitions of the ledger; see migrations/0020. */
const pieces = Array.from({ length: 8 }, (_, piece) => ({
  table: `processed_event_ids_${piece}`,
  column: 'claimed_at',
}));

export interface LedgerExpiryDependencies {
  readonly database: Database;
  readonly directory: Pick<Directory, 'tenants'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    ProcessSettings,
    'PULSE_PROCESS_LEDGER_RETENTION_MS' | 'PULSE_PROCESS_LEDGER_ROWS_MAX' | 'PULSE_PROCESS_EXPIRY_INTERVAL_MS'
  >;
}

/** The timer that keeps the ledger small. */
export interface LedgerExpiry {
  start(): void;
  stop(): Promise<void>;
  /** One round now; returns the rows removed. */
  run(): Promise<number>;
  /** Age up to which a repeated event id is surely found: the setting, or less while the ledger is full. */
  effectiveHorizonMs(): number;
}

/** Makes the timer; nothing happens before `start`. */
export function createLedgerExpiry(dependencies: LedgerExpiryDependencies): LedgerExpiry {
  const { database, clock, logger, settings } = dependencies;
  let forgottenThroughMs: number | null = null;
  const effectiveHorizonMs = (): number => {
    const retentionMs = settings.PULSE_PROCESS_LEDGER_RETENTION_MS;
    return forgottenThroughMs === null
      ? retentionMs
      : Math.max(0, Math.min(retentionMs, clock.now() - forgottenThroughMs));
  };

  const run = async (signal?: AbortSignal): Promise<number> => {
    const state = await readState(database);
    ledgerRows.set(state.rows);
    const byAgeMs = clock.now() - settings.PULSE_PROCESS_LEDGER_RETENTION_MS;
    const bySizeMs = await cutBySize(dependencies, state.rows, settings.PULSE_PROCESS_LEDGER_ROWS_MAX);
    forgottenThroughMs = Math.max(state.forgottenThroughMs ?? 0, bySizeMs ?? 0) || null;
    // Written before anything is removed: the horizon may promise too little for a while, never too much.
    if (bySizeMs !== null) await forgetThrough(database, bySizeMs);
    ledgerHorizonSeconds.set(effectiveHorizonMs() / 1000);
    const tenantIds = dependencies.directory.tenants().map((tenant) => tenant.tenantId);
    const removed = await removeUpTo(
      database,
      tenantIds,
      pieces,
      Math.max(byAgeMs, bySizeMs ?? byAgeMs),
      signal,
    );
    expiredRows.inc({ table: 'processed_event_ids' }, removed);
    return removed;
  };
  const repeater = createRepeater({
    intervalMs: settings.PULSE_PROCESS_EXPIRY_INTERVAL_MS,
    work: run,
    onError: (error) => logger.warn({ err: error }, 'the ledger could not be expired; it is tried again'),
  });
  return { start: repeater.start, stop: repeater.stop, run, effectiveHorizonMs };
}

interface LedgerState {
  /** As Postgres counts them; too few for a while after a crash of Postgres, never too many. */
  readonly rows: number;
  readonly forgottenThroughMs: number | null;
}

async function readState(database: Database): Promise<LedgerState> {
  // reltuples would still count what was just removed, until the next vacuum, and more would be removed again.
  const { rows } = await database.query<{ rows: number; forgotten: Date | null }>(
    `SELECT (SELECT coalesce(sum(pg_stat_get_live_tuples(inhrelid)), 0)::bigint FROM pg_inherits
             WHERE inhparent = 'processed_event_ids'::regclass) AS rows,
            (SELECT forgotten_through FROM ledger_horizon) AS forgotten`,
  );
  const row = rows[0];
  return { rows: row?.rows ?? 0, forgottenThroughMs: row?.forgotten?.getTime() ?? null };
}

const sampleRows = 20_000;

/** The time up to which ids must go so that `rowsMax` remain, from a sample of the table; null while there is room. */
async function cutBySize(
  { database, directory }: LedgerExpiryDependencies,
  rows: number,
  rowsMax: number,
): Promise<number | null> {
  if (rows <= rowsMax) return null;
  const tenantIds = directory.tenants().map((tenant) => tenant.tenantId);
  const sample = await database.withTenants(tenantIds, (client) =>
    client.query<{ cut: Date | null }>(
      `SELECT percentile_disc($1::float8) WITHIN GROUP (ORDER BY claimed_at) AS cut
       FROM processed_event_ids TABLESAMPLE SYSTEM ($2::real)`,
      [1 - rowsMax / rows, Math.min(100, (100 * sampleRows) / rows)],
    ),
  );
  return sample.rows[0]?.cut?.getTime() ?? null;
}

async function forgetThrough(database: Database, timeMs: number): Promise<void> {
  await database.query(
    'UPDATE ledger_horizon SET forgotten_through = greatest(forgotten_through, $1::timestamptz)',
    [new Date(timeMs)],
  );
}
