// Copies files for backup and restore: hashed, synced, and consistent while a writer appends.
import { createHash } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { databaseError } from './errors.ts';

/** A file of a backup. */
export interface CopiedFile {
  /** Below the root of the backup, with `/`. */
  readonly path: string;
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** A folder's files and folders, as paths below it. */
export interface Tree {
  readonly files: string[];
  readonly folders: string[];
}

const CHUNK = 1024 * 1024;
const zeros = Buffer.alloc(CHUNK);

/**
 * Lists a folder to any depth, names in order; nothing when it does not exist. `isWanted` is asked for each path below `root`; the content
 * of an unwanted folder is not listed.
 * Errors: PULSE_DATABASE_BACKUP_REFUSED for a link or anything else that is neither file nor folder.
 */
export async function listTree(root: string, isWanted: (path: string) => boolean): Promise<Tree> {
  const tree: Tree = { files: [], folders: [] };
  await list(root, '', isWanted, tree);
  return tree;
}

async function list(
  root: string,
  below: string,
  isWanted: (path: string) => boolean,
  tree: Tree,
): Promise<void> {
  const entries = await orNull(readdir(join(root, below), { withFileTypes: true }));
  for (const entry of (entries ?? []).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (!isWanted(path)) continue;
    if (entry.isFile()) tree.files.push(path);
    else if (entry.isDirectory()) {
      tree.folders.push(path);
      await list(root, path, isWanted, tree);
    } else {
      throw databaseError(
        'PULSE_DATABASE_BACKUP_REFUSED',
        `'${join(root, path)}' is a link or a device, which a backup cannot hold.`,
      );
    }
  }
}

/**
 * Copies a file and syncs the copy; null when the source does not exist (any more).
 * `appended` is for a file to which a writer appends while it is copied, each write only after the one before: the copy then is the file as
 * it was at some instant. Chunks are read from the end to the beginning, so nothing is copied whose predecessor is missing, and
 * each one until two reads agree, which makes a chunk itself the image of an instant.
 */
export async function copyFile(
  source: string,
  target: string,
  how: 'plain' | 'appended' = 'plain',
): Promise<Omit<CopiedFile, 'path'> | null> {
  const from = await orNull(open(source, 'r'));
  if (from === null) return null;
  try {
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    const to = await open(target, 'wx+', (await from.stat()).mode & 0o777);
    try {
      if (how === 'appended') await copyBackwards(from, to, source);
      const copied = how === 'appended' ? await hashAndCopy(to, null) : await hashAndCopy(from, to);
      await to.sync();
      return copied;
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** Writes a small file and syncs it. */
export async function writeSynced(target: string, content: string): Promise<Omit<CopiedFile, 'path'>> {
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  const to = await open(target, 'wx+', 0o600);
  try {
    await to.writeFile(content);
    await to.sync();
    return await hashAndCopy(to, null);
  } finally {
    await to.close();
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function copyBackwards(from: FileHandle, to: FileHandle, source: string): Promise<void> {
  const { size } = await from.stat();
  const first = Buffer.allocUnsafe(chunkFor(size));
  const second = Buffer.allocUnsafe(chunkFor(size));
  // Segments are full of zeros ahead of time; what is only zeros stays a hole of the copy.
  await to.truncate(size);
  for (let position = Math.floor(Math.max(0, size - 1) / CHUNK) * CHUNK; position >= 0; position -= CHUNK) {
    const length = Math.min(CHUNK, size - position);
    let isStable = false;
    for (let attempt = 0; attempt < 1_000 && !isStable; attempt++) {
      await readFully(from, first, length, position);
      await readFully(from, second, length, position);
      isStable = first.compare(second, 0, length, 0, length) === 0;
    }
    if (!isStable) {
      throw databaseError(
        'PULSE_DATABASE_BACKUP_REFUSED',
        `'${source}' changes faster than it can be read; try again under less load.`,
      );
    }
    const content = first.subarray(0, length);
    if (zeros.compare(content, 0, length, 0, length) !== 0) await to.write(content, 0, length, position);
  }
}

async function readFully(from: FileHandle, buffer: Buffer, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await from.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) {
      buffer.fill(0, done, length); // It was cut in the meantime.
      return;
    }
    done += bytesRead;
  }
}

/** Size and SHA-256 of a file as it is read, which may be copied in the same go. */
async function hashAndCopy(from: FileHandle, to: FileHandle | null): Promise<Omit<CopiedFile, 'path'>> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(chunkFor((await from.stat()).size));
  for (let size = 0; ; ) {
    const { bytesRead } = await from.read(buffer, 0, buffer.length, size);
    if (bytesRead === 0) return { size, sha256: hash.digest('hex') };
    hash.update(buffer.subarray(0, bytesRead));
    await to?.write(buffer, 0, bytesRead, size);
    size += bytesRead;
  }
}

/** A cluster has a thousand small files: a buffer is no larger than what it is for. */
function chunkFor(size: number): number {
  return Math.min(CHUNK, Math.max(size, 1024));
}

/** True when the folder is missing or has nothing in it. */
export async function isEmptyOrMissing(path: string): Promise<boolean> {
  const status = await orNull(lstat(path));
  return status === null || (status.isDirectory() && (await readdir(path)).length === 0);
}

async function orNull<Value>(work: Promise<Value>): Promise<Value | null> {
  try {
    return await work;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
