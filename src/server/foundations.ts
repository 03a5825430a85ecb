// What the front and the worker both stand on: the database, the directory of tenants, and the event log.
import { systemClock } from '../core/clock.ts';
import { openDatabase } from '../database/database.ts';
import type { Database } from '../database/types.ts';
import type { EmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type OpenDirectory, openDirectory } from '../tenancy/directory.ts';
import { openEventLog } from './event-log.ts';
import type { ChildConfiguration } from './messages.ts';

export interface Foundations {
  readonly database: Database;
  readonly directory: OpenDirectory;
  readonly log: EmbeddedEventLog;
}

/** Opens them for one part; the caller closes them in the reverse order. */
export async function openFoundations(
  configuration: ChildConfiguration,
  logger: Logger,
): Promise<Foundations> {
  const { settings, part } = configuration;
  const database = await openDatabase({
    url: configuration.databaseUrl,
    poolSize: settings.PULSE_DATABASE_POOL_SIZE,
    applicationName: `pulse-${part}`,
    statementTimeoutMs: settings.PULSE_DATABASE_STATEMENT_TIMEOUT_MS,
    logger,
  });
  const directory = await openDirectory({ database, clock: systemClock, logger, settings });
  const log = await openEventLog(settings, configuration.dataDirectory, logger);
  return { database, directory, log };
}
