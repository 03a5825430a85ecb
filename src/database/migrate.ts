// Numbered SQL migrations of all rooms, each applied once, in order, by the role that owns the tables.

import { createHash } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { Client, type DatabaseError } from 'pg';
import type { Logger } from 'pino';
import { failpoint } from '../core/failpoint.ts';
import { databaseError } from './errors.ts';
import { translate } from './failures.ts';
import { ensureAppRole } from './roles.ts';

/** Any number that nobody else uses for an advisory lock: "pulse" on a telephone keypad. */
const LOCK = 78573;

/** A migration file. */
export interface Migration {
  readonly number: number;
  /** `NNNN_name`. */
  readonly name: string;
  /** Folder under `src/` that it belongs to; each room numbers its own range without gaps. */
  readonly room: string;
  readonly sql: string;
  readonly checksum: string;
}

export interface MigrateOptions {
  readonly ownerUrl: string;
  /** Its role is made when missing, and can log in with its password afterwards. */
  readonly appUrl: string;
  readonly logger: Logger;
  /** Folder whose subfolders have `migrations/`; `src` by default. */
  readonly root?: string;
  /** How long to wait for another process that migrates. */
  readonly lockTimeoutMs?: number;
}

/**
 * Brings the database to this program's schema. Returns the names of the migrations applied now.
 * Guarantees: one process at a time; each migration in its own transaction together with its record; nothing is applied when a check fails.
 * Errors: PULSE_DATABASE_MIGRATION_CHANGED, _MISSING, _GAP, _FAILED, _LOCKED; PULSE_DATABASE_VERSION_UNSUPPORTED;
 * PULSE_DATABASE_UNAVAILABLE; PULSE_DATABASE_LOGIN_FAILED.
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const migrations = await findMigrations(options.root ?? join(import.meta.dirname, '..'));
  const client = new Client({
    connectionString: options.ownerUrl,
    application_name: 'pulse-migrate',
    connectionTimeoutMillis: 10_000,
  });
  client.on('error', () => {}); // The statement in hand fails with it.
  try {
    await client.connect();
    await requireVersion(client);
    await lock(client, options.lockTimeoutMs ?? 60_000);
    await ensureAppRole(client, options.appUrl);
    const pending = await checkApplied(client, migrations);
    for (const migration of pending) {
      await apply(client, migration);
      failpoint('migrate.applied');
      options.logger.info({ migration: migration.name, room: migration.room }, 'migration applied');
    }
    return pending.map((migration) => migration.name);
  } catch (error) {
    throw translate(error);
  } finally {
    await client.end().catch(() => {}); // Ends the advisory lock as well; a broken connection has ended it already.
  }
}

/**
 * Every `<root>/<room>/migrations/NNNN_name.sql`, in order of number.
 * Errors: PULSE_DATABASE_MIGRATION_GAP when a number is used twice, is missing inside its room, or a name is malformed.
 */
export async function findMigrations(root: string): Promise<readonly Migration[]> {
  const migrations: Migration[] = [];
  for await (const path of glob('*/migrations/*.sql', { cwd: root })) {
    const name = basename(path, '.sql');
    const match = /^(\d{4})_[a-z0-9_]+$/.exec(name);
    if (match === null)
      throw databaseError('PULSE_DATABASE_MIGRATION_GAP', `'${path}' is not named NNNN_name.sql.`);
    const sql = await readFile(join(root, path), 'utf8');
    migrations.push({
      number: Number(match[1]),
      name,
      room: path.split(sep)[0] as string,
      sql,
      checksum: createHash('sha256').update(sql.replaceAll('\r\n', '\n')).digest('hex'),
    });
  }
  migrations.sort((a, b) => a.number - b.number);
  checkNumbers(migrations);
  return migrations;
}

function checkNumbers(migrations: readonly Migration[]): void {
  const last = new Map<string, Migration>();
  for (const [index, migration] of migrations.entries()) {
    const before = migrations[index - 1];
    if (before?.number === migration.number) {
      throw databaseError(
        'PULSE_DATABASE_MIGRATION_GAP',
        `${before.name} and ${migration.name} have one number.`,
      );
    }
    const inRoom = last.get(migration.room);
    if (inRoom !== undefined && inRoom.number + 1 !== migration.number) {
      throw databaseError(
        'PULSE_DATABASE_MIGRATION_GAP',
        `In '${migration.room}', ${migration.name} follows ${inRoom.name}: a number between them is missing.`,
      );
    }
    last.set(migration.room, migration);
  }
}

async function requireVersion(client: Client): Promise<void> {
  const { rows } = await client.query<{ number: string; text: string }>(
    "SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS text",
  );
  if (Number(rows[0]?.number) < 150_000) {
    throw databaseError('PULSE_DATABASE_VERSION_UNSUPPORTED', `The server is PostgreSQL ${rows[0]?.text}.`);
  }
}

async function lock(client: Client, timeoutMs: number): Promise<void> {
  await client.query("SELECT set_config('lock_timeout', $1, false)", [`${timeoutMs}ms`]);
  try {
    await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
  } catch (error) {
    if ((error as DatabaseError).code !== '55P03') throw error;
    throw databaseError('PULSE_DATABASE_MIGRATION_LOCKED', `The lock was not free within ${timeoutMs} ms.`, {
      cause: error,
    });
  }
}

/** Compares what was applied with the files, and returns what is still to be applied. */
async function checkApplied(client: Client, migrations: readonly Migration[]): Promise<readonly Migration[]> {
  await client.query(`
    CREATE TABLE IF NOT EXISTS pulse_migrations (
      number integer PRIMARY KEY,
      name text NOT NULL,
      room text NOT NULL,
      checksum text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`);
  const applied = await client.query<{ number: number; name: string; room: string; checksum: string }>(
    'SELECT number, name, room, checksum FROM pulse_migrations ORDER BY number',
  );
  const files = new Map(migrations.map((migration) => [migration.number, migration]));
  const newest = new Map<string, string>();
  for (const row of applied.rows) {
    const file = files.get(row.number);
    if (file === undefined) {
      throw databaseError(
        'PULSE_DATABASE_MIGRATION_MISSING',
        `${row.name} was applied, and this program has no such file.`,
      );
    }
    if (file.checksum !== row.checksum) {
      throw databaseError(
        'PULSE_DATABASE_MIGRATION_CHANGED',
        `${file.name} differs from what was applied as ${row.name}.`,
      );
    }
    files.delete(row.number);
    newest.set(row.room, row.name);
  }
  const pending = [...files.values()];
  for (const migration of pending) {
    const later = newest.get(migration.room);
    if (later !== undefined && later > migration.name) {
      throw databaseError(
        'PULSE_DATABASE_MIGRATION_GAP',
        `${later} was applied without ${migration.name} before it.`,
      );
    }
  }
  return pending;
}

async function apply(client: Client, migration: Migration): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query(migration.sql);
    await client.query(
      'INSERT INTO pulse_migrations (number, name, room, checksum) VALUES ($1, $2, $3, $4)',
      [migration.number, migration.name, migration.room, migration.checksum],
    );
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {}); // The first error is the one to report.
    const position = (error as DatabaseError).position;
    const line =
      position === undefined ? '' : ` (line ${migration.sql.slice(0, Number(position)).split('\n').length})`;
    throw databaseError(
      'PULSE_DATABASE_MIGRATION_FAILED',
      `${migration.name}${line}: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
