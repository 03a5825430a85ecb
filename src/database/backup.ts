// `pulse backup` and `pulse restore`: database, log and lake as one consistent whole, with Pulse running or stopped.
//
// The order of copying is what makes it consistent: whatever was derived is copied before that from which it was derived, so
// that a restored Pulse finds every stage at or behind its source, exactly as after a crash.
//   1. offsets of the log's groups (hints; older ones only make a stage read again)
//   2. the database, as of the end of its copy
//   3. derived topics (valid, dlq)
//   4. raw topics
//   5. all the rest: lake files, secrets, settings of the directory
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { type CopiedFile, copyFile, isEmptyOrMissing, syncFolder, writeSynced } from './backup-files.ts';
import { copyDatabase, hasDatabase } from './backup-postgres.ts';
import { Target } from './backup-target.ts';
import { databaseError } from './errors.ts';

/** What a backup holds; `manifest.json`, written last. */
export interface BackupManifest {
  readonly format: 'pulse-backup-1';
  readonly made_at: string;
  /** `running`: made beside a running server; `stopped`: of a data directory in rest. */
  readonly database: 'running' | 'stopped';
  readonly folders: readonly string[];
  readonly files: readonly CopiedFile[];
}

export interface BackupOptions {
  readonly dataDirectory: string;
  /** A missing or empty folder, not inside the data directory. */
  readonly to: string;
  /** Value of PULSE_DATABASE_URL; '' for the embedded server. */
  readonly databaseUrl: string;
  readonly logger: Logger;
}

const MANIFEST = 'manifest.json';

/**
 * Copies a data directory into a folder.
 * Guarantees: the manifest appears only when everything is on disk; a backup without it is none. Works while Pulse runs and takes no
 * lock that it would notice. Keeps secrets: the folder is made for its owner alone (0700).
 * Errors: PULSE_DATABASE_BACKUP_REFUSED for an outside database, a target in use or inside the data directory, a directory without a
 * database; PULSE_DATABASE_UNAVAILABLE when the server ends meanwhile.
 */
export async function backup(options: BackupOptions): Promise<BackupManifest> {
  const from = resolve(options.dataDirectory);
  const to = resolve(options.to);
  await checkBackup(options, from, to);
  await mkdir(to, { recursive: true, mode: 0o700 });
  const target = new Target(to);
  await target.copyTree(
    from,
    (path) => path === 'log' || path === 'log/groups' || path.startsWith('log/groups/'),
  );
  const database = await copyDatabase(from, target);
  const rawTopics = new Set(database.rawTopics);
  const isRaw = (topic: string) => rawTopics.has(topic) || topic.endsWith('.raw');
  await target.copyTree(from, (path) => isTopicPath(path, (topic) => !isRaw(topic)), 'appended');
  await target.copyTree(from, (path) => isTopicPath(path, isRaw), 'appended');
  await target.copyTree(from, (path) => isOfTheRest(path));
  const manifest: BackupManifest = {
    format: 'pulse-backup-1',
    made_at: new Date().toISOString(),
    database: database.state,
    folders: [...target.folders].sort(),
    files: target.files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  };
  for (const folder of ['.', ...manifest.folders]) await syncFolder(join(to, folder));
  await writeSynced(join(to, `${MANIFEST}.new`), `${JSON.stringify(manifest, null, 1)}\n`);
  await rename(join(to, `${MANIFEST}.new`), join(to, MANIFEST));
  await syncFolder(to);
  options.logger.info({ to, files: manifest.files.length, database: database.state }, 'backup made');
  return manifest;
}

async function checkBackup(options: BackupOptions, from: string, to: string): Promise<void> {
  const refuse = (detail: string) => databaseError('PULSE_DATABASE_BACKUP_REFUSED', detail);
  if (options.databaseUrl !== '') {
    throw refuse(
      'The database is an outside Postgres (PULSE_DATABASE_URL), which only its own tools can copy. First copy it with pg_basebackup or pg_dump, ' +
        `then stop Pulse or its appends and copy '${from}'; in this order the log is never older than the database.`,
    );
  }
  if (`${to}/`.startsWith(`${from}/`)) throw refuse(`'${to}' lies inside the data directory '${from}'.`);
  if (!(await hasDatabase(from))) throw refuse(`'${from}' has no database, so there is nothing to back up.`);
  if (!(await isEmptyOrMissing(to)))
    throw refuse(`'${to}' is not an empty folder; a backup is not written over anything.`);
}

/** Locks, process numbers and unfinished files: they mean nothing elsewhere. */
function isPassing(path: string): boolean {
  return /\.(lock|pid|tmp|unfinished|new)(\/|$)/.test(path);
}

function isTopicPath(path: string, isWanted: (topic: string) => boolean): boolean {
  const [first, second, topic] = path.split('/');
  if (first !== 'log' || isPassing(path)) return false;
  if (second === undefined) return true;
  if (second !== 'topics') return false;
  return topic === undefined || isWanted(topic);
}

function isOfTheRest(path: string): boolean {
  if (path.startsWith('log/topics') || path.startsWith('log/groups')) return false;
  return (
    path !== 'postgres' && path !== 'postgres-owner' && !path.startsWith('postgres.') && !isPassing(path)
  );
}

/**
 * Makes a data directory from a backup. Pulse then starts in it as after a crash.
 * Guarantees: the data directory appears complete and checked, or not at all. The backup stays as it is.
 * Errors: PULSE_DATABASE_BACKUP_REFUSED when the data directory is not empty; PULSE_DATABASE_BACKUP_DAMAGED, naming the file.
 */
export async function restore(options: {
  readonly from: string;
  readonly dataDirectory: string;
  readonly logger: Logger;
}): Promise<BackupManifest> {
  const from = resolve(options.from);
  const to = resolve(options.dataDirectory);
  if (!(await isEmptyOrMissing(to))) {
    throw databaseError(
      'PULSE_DATABASE_BACKUP_REFUSED',
      `'${to}' is not empty; a backup is restored into an empty data directory only.`,
    );
  }
  const manifest = await readManifest(from);
  const unfinished = `${to}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true, mode: 0o700 });
  try {
    for (const folder of manifest.folders)
      await mkdir(join(unfinished, folder), { recursive: true, mode: 0o700 });
    for (const file of manifest.files) await restoreFile(from, unfinished, file);
    for (const folder of ['.', ...manifest.folders]) await syncFolder(join(unfinished, folder));
    await rm(to, { recursive: true, force: true });
    await rename(unfinished, to);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(dirname(to));
  options.logger.info({ from, files: manifest.files.length, made_at: manifest.made_at }, 'backup restored');
  return manifest;
}

async function restoreFile(from: string, to: string, file: CopiedFile): Promise<void> {
  const copied = await copyFile(join(from, file.path), join(to, file.path));
  const problem =
    copied === null
      ? 'is missing'
      : copied.size !== file.size
        ? `has ${copied.size} bytes instead of ${file.size}`
        : copied.sha256 !== file.sha256
          ? 'has other content than when it was made'
          : null;
  if (problem === null) return;
  throw databaseError('PULSE_DATABASE_BACKUP_DAMAGED', `'${file.path}' ${problem}.`, {
    details: { file: file.path },
  });
}

async function readManifest(from: string): Promise<BackupManifest> {
  const path = join(from, MANIFEST);
  let manifest: BackupManifest | null = null;
  try {
    manifest = JSON.parse(await readFile(path, 'utf8')) as BackupManifest;
  } catch (error) {
    throw databaseError(
      'PULSE_DATABASE_BACKUP_DAMAGED',
      `'${path}' cannot be read, so the backup was not finished or is none.`,
      {
        cause: error,
      },
    );
  }
  const isOurs =
    manifest?.format === 'pulse-backup-1' && Array.isArray(manifest.files) && Array.isArray(manifest.folders);
  const paths = isOurs ? [...manifest.folders, ...manifest.files.map((file) => file.path)] : [];
  if (
    !isOurs ||
    paths.some((name) => typeof name !== 'string' || name.split('/').includes('..') || name.startsWith('/'))
  ) {
    throw databaseError(
      'PULSE_DATABASE_BACKUP_DAMAGED',
      `'${path}' is no manifest of a backup of this version.`,
    );
  }
  return manifest;
}
