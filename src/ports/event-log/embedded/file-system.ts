// The few file operations that the embedded log is built on. Everything that must survive a power loss goes through
// this interface, so that a test can put a disk behind it that forgets what was not synced.
import fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/** An open file. Positions and sizes are in bytes. */
export interface LogFile {
  readonly path: string;
  /** Writes all bytes, extending the file when needed. Not durable before `datasync`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** As `write`, without leaving the thread; for small writes into the page cache. */
  writeSync(bytes: Uint8Array, position: number): void;
  /** Reads until the target is full or the file ends; returns the bytes read. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** As `read`, without leaving the thread; for small reads from the page cache. */
  readSync(target: Uint8Array, position: number): number;
  size(): Promise<number>;
  truncate(size: number): Promise<void>;
  /** Resolves once the bytes and the size of the file survive a power loss. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/** A lock that no other process, and no other holder in this process, can take until it is released or we die. */
export interface FileLock {
  release(): void;
}

/** A place for files. Errors are Node's: `error.code` is ENOENT, EEXIST, ENOSPC, EIO … */
export interface FileSystem {
  /** `read` and `update` need the file; `create` makes it and fails with EEXIST when it is there. */
  open(path: string, mode: 'read' | 'update' | 'create'): Promise<LogFile>;
  /** Names in a directory, sorted. */
  list(path: string): Promise<readonly string[]>;
  /** Makes the directory and its parents; an existing one is fine. */
  createDirectory(path: string): Promise<void>;
  /** Atomic. Replaces an existing file or empty directory. */
  rename(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Removes a directory and what is in it; a missing one is fine. */
  removeDirectory(path: string): Promise<void>;
  /** Resolves once the names in this directory survive a power loss. */
  syncDirectory(path: string): Promise<void>;
  /** Null when somebody else holds it. */
  lock(path: string): FileLock | null;
  /** Changes when the machine starts again; '' when the platform does not tell. */
  bootId(): string;
}

/** True for an error of Node's file system with this code. */
export function isFileError(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** True when the error says that no space is left. */
export function isDiskFull(error: unknown): boolean {
  return isFileError(error, 'ENOSPC', 'EDQUOT');
}

class NodeFile implements LogFile {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) done += await this.#writeSome(bytes, done, position + done);
  }

  #writeSome(bytes: Uint8Array, from: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.write(this.#descriptor, bytes, from, bytes.length - from, position, (error, written) =>
        error === null ? resolve(written) : reject(error),
      );
    });
  }

  writeSync(bytes: Uint8Array, position: number): void {
    let done = 0;
    while (done < bytes.length) {
      done += fs.writeSync(this.#descriptor, bytes, done, bytes.length - done, position + done);
    }
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const some = await this.#readSome(target, done, position + done);
      if (some === 0) break;
      done += some;
    }
    return done;
  }

  #readSome(target: Uint8Array, from: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.#descriptor, target, from, target.length - from, position, (error, count) =>
        error === null ? resolve(count) : reject(error),
      );
    });
  }

  readSync(target: Uint8Array, position: number): number {
    let done = 0;
    while (done < target.length) {
      const some = fs.readSync(this.#descriptor, target, done, target.length - done, position + done);
      if (some === 0) break;
      done += some;
    }
    return done;
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, (error, stats) => (error === null ? resolve(stats.size) : reject(error)));
    });
  }

  truncate(size: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#descriptor, size, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.close(this.#descriptor, (error) =>
        error === null || error === undefined ? resolve() : reject(error),
      );
    });
  }
}

const openFlags = { read: 'r', update: 'r+', create: 'wx+' } as const;

/** The machine's file system. */
export const nodeFileSystem: FileSystem = {
  open: (path, mode) =>
    new Promise((resolve, reject) => {
      fs.open(path, openFlags[mode], 0o640, (error, descriptor) =>
        error === null ? resolve(new NodeFile(path, descriptor)) : reject(error),
      );
    }),
  list: async (path) => (await fs.promises.readdir(path)).sort(),
  createDirectory: async (path) => {
    await fs.promises.mkdir(path, { recursive: true, mode: 0o750 });
  },
  rename: (from, to) => fs.promises.rename(from, to),
  removeFile: (path) => fs.promises.unlink(path),
  removeDirectory: (path) => fs.promises.rm(path, { recursive: true, force: true }),
  syncDirectory: async (path) => {
    // Windows has no handle on a directory; its file systems journal names by themselves.
    if (process.platform === 'win32') return;
    const directory = await fs.promises.open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
  lock: (path) => lockWithSqlite(path),
  bootId: () => thisBootId,
};

const thisBootId = readBootId();

function readBootId(): string {
  try {
    return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return ''; // Not Linux: readers then trust what the last writer published.
  }
}

/**
 * Node has no flock(2). SQLite takes the operating system's record locks for us: they end with the process, however it
 * ends, and SQLite also refuses a second holder inside one process.
 */
function lockWithSqlite(path: string): FileLock | null {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return { release: () => database.close() };
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === sqliteBusy) return null;
    throw error;
  }
}

const sqliteBusy = 5;
