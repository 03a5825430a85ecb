// Chooses the Postgres: the embedded one, or an outside one by URL.
import type { Logger } from 'pino';
import type { SettingValues } from '../core/settings.ts';
import type { databaseSettings } from './config.ts';
import { startEmbeddedPostgres } from './embedded.ts';
import { APP_ROLE, derivedAppPassword } from './roles.ts';

export interface ConnectedPostgres {
  /** As the role that owns the tables; only for `migrate` and for maintenance. */
  readonly ownerUrl: string;
  /** As `pulse_app`; works after `migrate`. */
  readonly appUrl: string;
  /** `embedded` when Postgres was started by this call. */
  readonly kind: 'embedded' | 'outside';
  /** Ends the embedded server; does nothing to an outside one. */
  stop(): Promise<void>;
}

/**
 * Starts the embedded Postgres in `<dataDirectory>/postgres`, or takes the one of PULSE_DATABASE_URL.
 * Errors: those of startEmbeddedPostgres; an outside server is first spoken to by `migrate`.
 */
export async function connectPostgres(options: {
  readonly settings: SettingValues<typeof databaseSettings>;
  readonly dataDirectory: string;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}): Promise<ConnectedPostgres> {
  const { settings, dataDirectory, logger, signal } = options;
  const ownerUrl = settings.PULSE_DATABASE_URL;
  if (ownerUrl !== '') {
    const appUrl = settings.PULSE_DATABASE_APP_URL || deriveAppUrl(ownerUrl);
    return { ownerUrl, appUrl, kind: 'outside', stop: async () => {} };
  }
  const server = await startEmbeddedPostgres({
    dataDirectory,
    logger,
    tuning: {
      sharedBuffersMib: settings.PULSE_DATABASE_SHARED_BUFFERS_MIB,
      synchronousCommit: settings.PULSE_DATABASE_SYNCHRONOUS_COMMIT,
    },
    ...(signal === undefined ? {} : { signal }),
  });
  return { ownerUrl: server.ownerUrl, appUrl: server.appUrl, kind: 'embedded', stop: () => server.stop() };
}

/** The URL of `pulse_app` at the server of the owner's URL; its password is derived from the owner's. */
export function deriveAppUrl(ownerUrl: string): string {
  const url = new URL(ownerUrl);
  const ownerPassword = decodeURIComponent(url.password);
  url.username = APP_ROLE;
  url.password = derivedAppPassword(ownerPassword);
  return url.href;
}
