// Settings of the database room.
import { choice, integer, url } from '../core/settings.ts';

/** Where Postgres is and how it is used. */
export const databaseSettings = {
  PULSE_DATABASE_URL: url({
    help: 'Postgres (version 15 or later) to use instead of the embedded one, as the role that owns the tables; it needs CREATEROLE.',
    schemes: ['postgres', 'postgresql'],
    secret: true,
  }),
  PULSE_DATABASE_APP_URL: url({
    help: 'The same Postgres as the role pulse_app; by default derived from PULSE_DATABASE_URL.',
    schemes: ['postgres', 'postgresql'],
    secret: true,
  }),
  PULSE_DATABASE_POOL_SIZE: integer({
    help: 'Connections that one process of Pulse keeps to Postgres.',
    unit: 'connections',
    defaultValue: 8,
    min: 2,
    max: 100,
  }),
  PULSE_DATABASE_CONNECT_TIMEOUT_MS: integer({
    help: 'How long a caller waits for a connection before it gets an error.',
    unit: 'ms',
    defaultValue: 5_000,
    min: 100,
    max: 60_000,
  }),
  PULSE_DATABASE_STATEMENT_TIMEOUT_MS: integer({
    help: 'How long one statement may run.',
    unit: 'ms',
    defaultValue: 30_000,
    min: 1_000,
    max: 3_600_000,
  }),
  PULSE_DATABASE_SHARED_BUFFERS_MIB: integer({
    help: 'Memory that the embedded Postgres keeps for pages.',
    unit: 'MiB',
    defaultValue: 192,
    min: 16,
    max: 65_536,
  }),
  PULSE_DATABASE_SYNCHRONOUS_COMMIT: choice({
    help: 'Whether the embedded Postgres waits for its disk at each commit. With off, a power loss may lose the last half second of work of the sinks, which then repeat it from the log.',
    defaultValue: 'on',
    values: ['on', 'off'],
  }),
} as const;
