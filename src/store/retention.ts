// The timer of the retention: makes the partitions of the coming days and lets go of old events.
import type { Clock } from '../core/clock.ts';
import type { Database } from '../database/types.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import { pause } from './backoff.ts';
import { applyRetention, type PartitionCalendar } from './partitions.ts';

/** Between two runs that went well. */
const intervalMs = 600_000;
/** After a run that failed: a long query may have held the table. */
const retryMs = 30_000;

export interface RetentionOptions {
  readonly database: Database;
  readonly directory: Directory;
  readonly calendar: PartitionCalendar;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retentionDays: number;
}

/** Applies the retention again and again. Safe to run in several processes: each step takes a lock in the database. */
export class Retention {
  readonly #options: RetentionOptions;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Works until the signal is given. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) await pause((await this.#once()) ? intervalMs : retryMs, signal);
  }

  async #once(): Promise<boolean> {
    const { directory, logger } = this.#options;
    try {
      const tenantIds = directory.tenants().map((tenant) => tenant.tenantId);
      const result = await applyRetention({ ...this.#options, tenantIds });
      if (result.droppedDays.length > 0 || result.deletedRows > 0) logger.info(result, 'old events are gone');
      return true;
    } catch (error) {
      logger.warn({ err: error }, 'the retention of stored events failed and is tried again');
      return false;
    }
  }
}
