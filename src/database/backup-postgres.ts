// The database's part of a backup: PostgreSQL's low-level base backup when the server runs, a plain copy when it does not.
// Source: PostgreSQL 18 documentation, 25.3.4 "Making a Base Backup Using the Low Level API".
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Target } from './backup-target.ts';
import { OWNER_ROLE } from './embedded-cluster.ts';
import { databaseError } from './errors.ts';
import { translate } from './failures.ts';
import { isPostmasterOf, readPostmasterFile } from './postmaster.ts';

/** What the rest of the backup needs to know of the database. */
export interface CopiedDatabase {
  readonly state: 'running' | 'stopped';
  /** Topics that positions point into, which must be copied last; empty when nothing is running. */
  readonly rawTopics: readonly string[];
}

/** Content that the server makes anew, or that must not come with a base backup; the folders themselves are needed. */
const contentLeftOut = new Set([
  'log',
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);

/**
 * Copies `<dataDirectory>/postgres` into the target.
 * Guarantees: the copy is the database as it was at the end of the copying (running) or is (stopped).
 * Errors: PULSE_DATABASE_BACKUP_REFUSED when a server was started while a stopped one was copied.
 */
export async function copyDatabase(dataDirectory: string, target: Target): Promise<CopiedDatabase> {
  const directory = join(dataDirectory, 'postgres');
  if (await isServed(directory)) {
    return { state: 'running', rawTopics: await copyRunning(dataDirectory, directory, target) };
  }
  await target.addFolder('postgres');
  await target.copyTree(dataDirectory, (path) => isDatabasePath(path, true));
  if (await isServed(directory)) {
    throw databaseError(
      'PULSE_DATABASE_BACKUP_REFUSED',
      'Pulse was started while its stopped database was being copied; make the backup again.',
    );
  }
  return { state: 'stopped', rawTopics: [] };
}

/** True when the data directory has an embedded database. */
export async function hasDatabase(dataDirectory: string): Promise<boolean> {
  const version = await readFile(join(dataDirectory, 'postgres', 'PG_VERSION'), 'utf8').catch(() => null);
  return version !== null;
}

async function isServed(directory: string): Promise<boolean> {
  const running = await readPostmasterFile(directory);
  return running !== null && (await isPostmasterOf(running.pid, directory));
}

function isDatabasePath(path: string, withWal: boolean): boolean {
  const [root, first = '', ...rest] = path.split('/');
  if (root !== 'postgres') return false;
  const name = rest.at(-1) ?? first;
  if (/^(postmaster\.(pid|opts)|current_logfiles|backup_label|tablespace_map|pg_internal\.init)/.test(name))
    return false;
  if (name.startsWith('pgsql_tmp') || name.endsWith('.new')) return false;
  if (rest.length > 0 && contentLeftOut.has(first)) return false;
  return withWal || first !== 'pg_wal' || !/^[0-9A-F]{24}/.test(name);
}

async function copyRunning(
  dataDirectory: string,
  directory: string,
  target: Target,
): Promise<readonly string[]> {
  const client = new Client({ connectionString: await ownerUrl(dataDirectory, directory) });
  client.on('error', () => {}); // The statement in hand fails with it.
  try {
    await client.connect();
    // A slot that ends with this connection keeps the WAL of the whole time from being recycled.
    await client.query('SELECT pg_create_physical_replication_slot($1, true, true)', [
      `pulse_backup_${process.pid}`,
    ]);
    await client.query("SELECT pg_backup_start('pulse', true)");
    await target.addFolder('postgres');
    await target.copyTree(dataDirectory, (path) => isDatabasePath(path, false));
    const topics = await topicsOf(client);
    const { rows } = await client.query<{ label: string; map: string; last: string }>(
      'SELECT labelfile AS label, spcmapfile AS map, pg_walfile_name(lsn) AS last FROM pg_backup_stop(false)',
    );
    const stop = rows[0];
    const first = /\(file ([0-9A-F]{24})\)/.exec(stop?.label ?? '')?.[1];
    if (stop === undefined || first === undefined) throw new Error(`unexpected backup label: ${stop?.label}`);
    await target.write('postgres/backup_label', stop.label);
    await copyWal(directory, target, first, stop.last);
    return topics;
  } catch (error) {
    throw translate(error);
  } finally {
    await client.end().catch(() => {}); // A broken connection has ended the backup and the slot already.
  }
}

async function copyWal(directory: string, target: Target, first: string, last: string): Promise<void> {
  const names = (await readdir(join(directory, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name));
  const needed = names.filter((name) => name >= first && name <= last).sort();
  if (needed[0] !== first || needed.at(-1) !== last) {
    throw databaseError(
      'PULSE_DATABASE_BACKUP_REFUSED',
      `The server removed WAL from ${first} to ${last} during the backup; make it again.`,
    );
  }
  for (const name of needed) await target.copy(join(directory, 'pg_wal', name), `postgres/pg_wal/${name}`);
}

/** Raw topics, from the table of epochs in Pulse's own database. */
async function topicsOf(client: Client): Promise<readonly string[]> {
  const found = await client.query("SELECT to_regclass('public.log_epochs') IS NOT NULL AS exists");
  if ((found.rows[0] as { exists: boolean }).exists === false) return [];
  // The sink of dead letters has epochs of its own topics, which follow from raw ones and are copied before them.
  const { rows } = await client.query<{ topic: string }>(
    `SELECT DISTINCT topic FROM log_epochs WHERE topic NOT LIKE '%.dlq'
       AND epoch NOT IN (SELECT epoch FROM stage_positions WHERE stage = 'dead-letters')`,
  );
  return rows.map((row) => row.topic);
}

async function ownerUrl(dataDirectory: string, directory: string): Promise<string> {
  const port = (await readFile(join(directory, 'postmaster.pid'), 'utf8')).split('\n')[3];
  const secrets = JSON.parse(await readFile(join(dataDirectory, 'postgres-secrets.json'), 'utf8')) as {
    ownerPassword: string;
  };
  return `postgres://${OWNER_ROLE}:${secrets.ownerPassword}@127.0.0.1:${port}/pulse`;
}
