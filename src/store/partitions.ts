// The day partitions of `events`: made before their first row, dropped when their time is over.

import type { Clock } from '../core/clock.ts';
import { failpoint } from '../core/failpoint.ts';
import type { Database } from '../database/types.ts';
import type { Logger } from '../telemetry/logger.ts';

const dayMs = 86_400_000;
/** Days that are made ahead, so that midnight never waits for a lock. */
const daysAhead = 3;
/** Rows that one statement of the clean-up deletes at most. */
const deleteRowsMax = 20_000;

/** The UTC day of an ISO 8601 time in UTC: `YYYY-MM-DD`. */
export function dayOf(isoTime: string): string {
  return isoTime.slice(0, 10);
}

/** What is known about the partition of a day. `default` means that its rows go to the default partition. */
type DayState = 'own' | 'default';

/** Knows which days have a partition and makes missing ones. One for all lanes of a process. */
export class PartitionCalendar {
  readonly #database: Database;
  readonly #logger: Logger;
  readonly #days = new Map<string, DayState>();

  constructor(database: Database, logger: Logger) {
    this.#database = database;
    this.#logger = logger;
  }

  /**
   * Makes sure that each day has its partition, and returns the days that can have none (absurd clocks, or rows of the
   * day that lie in the default partition already). Their rows are kept in the default partition, searched and aged alike.
   * Errors: those of the database, and SQLSTATE 55P03 when a long query holds the table; both are worth trying again.
   * Cost: nothing for days that are known.
   */
  async ensure(days: Iterable<string>): Promise<ReadonlySet<string>> {
    const homeless = new Set<string>();
    for (const day of days) {
      const state = this.#days.get(day) ?? (await this.#make(day));
      if (state === 'default') homeless.add(day);
    }
    return homeless;
  }

  /** Forgets everything, for example after partitions were dropped. */
  forget(): void {
    this.#days.clear();
  }

  async #make(day: string): Promise<DayState> {
    failpoint('store.before_partition');
    const { rows } = await this.#database.query<{ made: string }>(
      'SELECT pulse_store_make_partition($1::date) AS made',
      [day],
    );
    const made = rows[0]?.made;
    const state: DayState = made === 'made' || made === 'exists' ? 'own' : 'default';
    if (made === 'made') this.#logger.info({ day }, 'made the partition of a day');
    if (state === 'default')
      this.#logger.warn({ day, reason: made }, 'events of this day go to the default partition');
    this.#days.set(day, state);
    return state;
  }
}

/** What one run of the retention did. */
export interface RetentionResult {
  readonly horizonDay: string;
  readonly droppedDays: readonly string[];
  /** Rows deleted one by one: of the default partition, of counts, and parked ones. */
  readonly deletedRows: number;
}

/**
 * Makes the partitions of the coming days and removes everything received before the horizon: today minus
 * `retentionDays`, in UTC.
 * Guarantees: only whole days go; days dropped stay dropped when a later step fails, and the next run goes on.
 */
export async function applyRetention(options: {
  readonly database: Database;
  readonly calendar: PartitionCalendar;
  readonly tenantIds: readonly string[];
  readonly clock: Clock;
  readonly retentionDays: number;
}): Promise<RetentionResult> {
  const { database, calendar, clock } = options;
  const nowMs = clock.now();
  const ahead = Array.from({ length: daysAhead + 1 }, (_, days) => isoDay(nowMs + days * dayMs));
  await calendar.ensure(ahead);
  const horizonDay = isoDay(nowMs - options.retentionDays * dayMs);
  const droppedDays: string[] = [];
  for (;;) {
    const { rows } = await database.query<{ day: string | null }>(
      "SELECT to_char(pulse_store_drop_partition($1::date), 'YYYY-MM-DD') AS day",
      [horizonDay],
    );
    const day = rows[0]?.day ?? null;
    if (day === null) break;
    droppedDays.push(day);
  }
  if (droppedDays.length > 0) calendar.forget();
  const deletedRows = await deleteOld(database, options.tenantIds, horizonDay);
  return { horizonDay, droppedDays, deletedRows };
}

function isoDay(timeMs: number): string {
  return dayOf(new Date(timeMs).toISOString());
}

const deletes = [
  `DELETE FROM events WHERE (tenant_id, event_id, received_at, epoch, partition, record_offset) IN
     (SELECT tenant_id, event_id, received_at, epoch, partition, record_offset FROM events WHERE received_at < $1 LIMIT $2)
   AND received_at < $1`,
  `DELETE FROM event_counts WHERE (tenant_id, bucket_minutes, bucket, event_type, topic, partition) IN
     (SELECT tenant_id, bucket_minutes, bucket, event_type, topic, partition FROM event_counts WHERE bucket < $1 LIMIT $2)`,
  `DELETE FROM store_parked WHERE (tenant_id, epoch, partition, record_offset) IN
     (SELECT tenant_id, epoch, partition, record_offset FROM store_parked WHERE received_at < $1 LIMIT $2)`,
];

async function deleteOld(database: Database, tenantIds: readonly string[], day: string): Promise<number> {
  let deleted = 0;
  for (const statement of deletes) {
    for (;;) {
      const { rowCount } = await database.withTenants(tenantIds, (client) =>
        client.query(statement, [`${day}T00:00:00Z`, deleteRowsMax]),
      );
      deleted += rowCount;
      if (rowCount < deleteRowsMax) break;
    }
  }
  return deleted;
}
