// The data directory: made at first start, held by one Pulse at a time, stamped with its format.
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { serverError } from './errors.ts';

const formatVersion = 1;

export interface DataDirectory {
  /** Absolute path. */
  readonly path: string;
  /** True when this start made it. */
  readonly isNew: boolean;
  /** Gives the directory free for another Pulse. Safe to call twice. */
  release(): void;
}

/**
 * Opens the data directory for this process alone.
 * Guarantees: the hold ends with the process, however it ends, because the operating system drops it.
 * Errors: PULSE_SERVER_DATA_DIRECTORY_IN_USE, …_VERSION, …_UNUSABLE; each names the path.
 */
export function openDataDirectory(path: string): DataDirectory {
  const absolute = resolve(path);
  try {
    mkdirSync(absolute, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw unusable(absolute, error);
  }
  const lock = holdLock(absolute);
  try {
    const isNew = checkFormat(absolute);
    return { path: absolute, isNew, release: lock };
  } catch (error) {
    lock();
    throw error;
  }
}

// SQLite's file locks are the only ones that Node offers without a native package; the kernel frees them when the
// holder dies, so a kill -9 leaves no stale lock behind (a pid file would, and pids are reused in containers).
function holdLock(path: string): () => void {
  const file = join(path, 'pulse.lock');
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(file);
  } catch (error) {
    throw unusable(path, error);
  }
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE;');
  } catch (error) {
    database.close();
    if (!/locked|busy/i.test((error as Error).message)) throw unusable(path, error);
    throw serverError('PULSE_SERVER_DATA_DIRECTORY_IN_USE', `${path} is held by another running Pulse.`);
  }
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    database.close();
  };
}

const partsFile = 'parts.lock';

/**
 * Marks this process as a part that works on the data directory; the mark ends with the process.
 * The supervisor of the next run waits for it, so that an orphan of a killed run never writes beside a new one.
 */
export function holdAsPart(path: string): () => void {
  const database = new DatabaseSync(join(path, partsFile));
  database.exec('PRAGMA journal_mode = DELETE; BEGIN; SELECT count(*) FROM sqlite_master;');
  return () => database.close();
}

/**
 * Waits until no part of an earlier run works on the data directory.
 * Errors: PULSE_SERVER_DATA_DIRECTORY_IN_USE after `timeoutMs`.
 */
export async function waitForEarlierParts(directory: DataDirectory, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const database = new DatabaseSync(join(directory.path, partsFile));
  try {
    for (;;) {
      try {
        database.exec('BEGIN EXCLUSIVE; COMMIT;');
        return;
      } catch (error) {
        if (!/locked|busy/i.test((error as Error).message)) throw unusable(directory.path, error);
      }
      if (performance.now() > deadline) {
        throw serverError(
          'PULSE_SERVER_DATA_DIRECTORY_IN_USE',
          `A process of an earlier run still works on ${directory.path} after ${timeoutMs} ms.`,
        );
      }
      await new Promise((resume) => setTimeout(resume, 50));
    }
  } finally {
    database.close();
  }
}

function checkFormat(path: string): boolean {
  const file = join(path, 'pulse.json');
  if (!existsSync(file)) {
    writeAtomically(
      file,
      `${JSON.stringify({ format_version: formatVersion, created_at: new Date().toISOString() })}\n`,
      0o644,
    );
    return true;
  }
  const found: unknown = parseJson(readFileSync(file, 'utf8'));
  const version = (found as { format_version?: unknown } | null)?.format_version;
  if (version !== formatVersion) {
    throw serverError(
      'PULSE_SERVER_DATA_DIRECTORY_VERSION',
      `${file} says format_version ${JSON.stringify(version)}; this Pulse reads version ${formatVersion}.`,
    );
  }
  return false;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // checkFormat names the file and the version it wanted
  }
}

/** Reads a secret kept in the data directory (0600), or makes it: `<prefix><32 random bytes>`. */
export function keptSecret(directory: DataDirectory, name: string, prefix: string): string {
  const file = join(directory.path, name);
  if (existsSync(file)) return readFileSync(file, 'utf8').trim();
  const secret = `${prefix}${randomBytes(32).toString('base64url')}`;
  keepSecret(directory, name, secret);
  return secret;
}

/** Keeps a secret in the data directory, readable by this user alone. */
export function keepSecret(directory: DataDirectory, name: string, secret: string): void {
  writeAtomically(join(directory.path, name), `${secret}\n`, 0o600);
}

/** The secret kept under this name; null when there is none. */
export function readSecret(directory: DataDirectory, name: string): string | null {
  const file = join(directory.path, name);
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}

function writeAtomically(file: string, text: string, mode: number): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, text, { mode, flush: true });
    chmodSync(temporary, mode);
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw unusable(file, error);
  }
}

function unusable(path: string, error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  return serverError('PULSE_SERVER_DATA_DIRECTORY_UNUSABLE', `${path} cannot be used: ${code}.`, {
    cause: error,
  });
}
