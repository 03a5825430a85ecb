// Errors of the database room.
import { defineErrors } from '../core/errors.ts';

/** Makes an error of this room. */
export const databaseError = defineErrors({
  PULSE_DATABASE_UNAVAILABLE: {
    status: 503,
    title: 'The database cannot be reached.',
    retryable: true,
    next: 'Try again; when it lasts, look at /readyz and at the log of Postgres.',
  },
  PULSE_DATABASE_COMMIT_UNKNOWN: {
    status: 503,
    title: 'The connection broke during COMMIT, so its outcome is unknown.',
    retryable: true,
    next: 'Read the position again before repeating the work.',
  },
  PULSE_DATABASE_ROLLED_BACK: {
    status: 500,
    title: 'The transaction was rolled back because one of its statements had failed.',
    retryable: false,
    next: 'Do not swallow an error of a statement inside a transaction.',
  },
  PULSE_DATABASE_TRANSACTION_ENDED: {
    status: 500,
    title: 'A statement was sent through a transaction that has ended.',
    retryable: false,
    next: 'Await every statement inside the work that withTenant was given.',
  },
  PULSE_DATABASE_TENANT_INVALID: {
    status: 400,
    title: 'A tenant id is not a slug.',
    retryable: false,
    next: 'Use 1 to 63 characters of a-z, 0-9, - and _.',
  },
  PULSE_DATABASE_TIMEOUT: {
    status: 503,
    title: 'A statement took longer than allowed.',
    retryable: true,
    next: 'Ask for less at once, or raise PULSE_DATABASE_STATEMENT_TIMEOUT_MS.',
  },
  PULSE_DATABASE_ROLE_UNSAFE: {
    status: 500,
    title: 'The database role of the running program has too many rights.',
    retryable: false,
    next: 'Connect as pulse_app, which owns no table, is no superuser and cannot bypass row-level security.',
  },
  PULSE_DATABASE_LOGIN_FAILED: {
    status: 500,
    title: 'Postgres refused the role or its password.',
    retryable: false,
    next: 'Check PULSE_DATABASE_URL and PULSE_DATABASE_APP_URL.',
  },
  PULSE_DATABASE_VERSION_UNSUPPORTED: {
    status: 500,
    title: 'The Postgres server is too old.',
    retryable: false,
    next: 'Use Postgres 15 or later.',
  },
  PULSE_DATABASE_DIRECTORY_VERSION: {
    status: 500,
    title: 'The data directory was made by another major version of Postgres.',
    retryable: false,
    next: 'Start the version of Pulse that made it, back up, and move the data over.',
  },
  PULSE_DATABASE_DIRECTORY_UNUSABLE: {
    status: 500,
    title: 'The data directory of Postgres cannot be used.',
    retryable: false,
    next: 'Mend what the message names, or restore a backup into an empty directory.',
  },
  PULSE_DATABASE_IN_USE: {
    status: 500,
    title: 'Another process of Pulse runs on this data directory.',
    retryable: false,
    next: 'Stop the other process, or start this one with another PULSE_DATA_DIR.',
  },
  PULSE_DATABASE_ROOT_REFUSED: {
    status: 500,
    title: 'Postgres refuses to run as root, and no way around it works here.',
    retryable: false,
    next: 'Start Pulse as a plain user, allow user namespaces, or move both the program and PULSE_DATA_DIR where uid 65534 can enter.',
  },
  PULSE_DATABASE_PLATFORM_UNSUPPORTED: {
    status: 500,
    title: 'No embedded Postgres exists for this platform.',
    retryable: false,
    next: 'Set PULSE_DATABASE_URL to a Postgres of version 15 or later.',
  },
  PULSE_DATABASE_START_FAILED: {
    status: 500,
    title: 'The embedded Postgres did not start.',
    retryable: false,
    next: 'Read the end of its log in the message; when the data is damaged, restore a backup.',
  },
  PULSE_DATABASE_MIGRATION_CHANGED: {
    status: 500,
    title: 'A migration that was already applied has been changed.',
    retryable: false,
    next: 'Put the file back as it was, and make the change in a new migration.',
  },
  PULSE_DATABASE_MIGRATION_MISSING: {
    status: 500,
    title: 'The database is newer than this program.',
    retryable: false,
    next: 'Start the version of Pulse that knows the migration, or a later one.',
  },
  PULSE_DATABASE_MIGRATION_GAP: {
    status: 500,
    title: 'The numbers of the migrations have a gap or a double.',
    retryable: false,
    next: 'Give the migrations of each room numbers without gaps, each used once.',
  },
  PULSE_DATABASE_MIGRATION_FAILED: {
    status: 500,
    title: 'A migration failed and was rolled back.',
    retryable: false,
    next: 'Mend what the message names and start again; the migrations before it are kept.',
  },
  PULSE_DATABASE_MIGRATION_LOCKED: {
    status: 503,
    title: 'Another process has been migrating this database for too long.',
    retryable: true,
    next: 'Wait for the other process, or end it.',
  },
  PULSE_DATABASE_POSITION_FENCED: {
    status: 503,
    title: 'Another owner has moved this position.',
    retryable: true,
    next: 'Roll back, read the position again, and go on from there.',
  },
  PULSE_DATABASE_BACKUP_REFUSED: {
    status: 409,
    title: 'The backup cannot be made or restored here.',
    retryable: false,
    next: 'Do what the message says.',
  },
  PULSE_DATABASE_BACKUP_DAMAGED: {
    status: 500,
    title: 'The backup is damaged or incomplete.',
    retryable: false,
    next: 'Use another backup.',
  },
});
