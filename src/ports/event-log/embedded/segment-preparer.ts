// Fills the next segment file with zeros ahead of its use, slowly, so that appends find the disk free and an fdatasync
// has no file size to write. A segment that is not ready in time is used as far as it is filled: nothing waits for it.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileSystem, isFileError, type LogFile } from './file-system.ts';
import { spareName } from './topic-files.ts';

const chunkBytes = 262_144;
/** Zeros are forced to disk in steps of this size, so that no fdatasync of an append has to push a large backlog. */
const syncStepBytes = 4 * 1_048_576;
const zeros = Buffer.alloc(chunkBytes);

/** Prepares one file at a time under the name `next.spare`. */
export class SegmentPreparer {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #bytesPerSecond: number;
  #filling: Promise<LogFile | null> | null = null;
  #stop = new AbortController();

  constructor(fileSystem: FileSystem, topicDirectory: string, bytesPerSecond: number) {
    this.#fileSystem = fileSystem;
    this.#path = join(topicDirectory, spareName);
    this.#bytesPerSecond = bytesPerSecond;
  }

  get path(): string {
    return this.#path;
  }

  /** Begins to prepare a file of `bytes`; does nothing when one is under way or ready. */
  start(bytes: number): void {
    if (this.#filling !== null) return;
    this.#stop = new AbortController();
    this.#filling = this.#fill(bytes, this.#stop.signal);
  }

  /**
   * Hands the file over as far as it is filled.
   * Shape: null when none was begun, or when it could not be made; the caller then makes one itself and sees the error.
   */
  async take(wait: 'finish' | 'now'): Promise<LogFile | null> {
    if (this.#filling === null) return null;
    if (wait === 'now') this.#stop.abort();
    const file = await this.#filling;
    this.#filling = null;
    return file;
  }

  /** Stops, and removes what was prepared. */
  async discard(): Promise<void> {
    const file = await this.take('now');
    if (file === null) return;
    await file.close();
    await removeIfThere(this.#fileSystem, this.#path);
  }

  async #fill(bytes: number, stop: AbortSignal): Promise<LogFile | null> {
    let file: LogFile | null = null;
    try {
      file = await this.#fileSystem.open(this.#path, 'create');
      let unsynced = 0;
      for (let at = 0; at < bytes && !stop.aborted; at += chunkBytes) {
        const size = Math.min(chunkBytes, bytes - at);
        await file.write(size === chunkBytes ? zeros : zeros.subarray(0, size), at);
        unsynced += size;
        if (unsynced >= syncStepBytes) {
          await file.datasync();
          unsynced = 0;
        }
        const pauseMs = (size / this.#bytesPerSecond) * 1000;
        // A pause that a stop cuts short is no error.
        if (pauseMs >= 1) await sleep(pauseMs, undefined, { signal: stop }).catch(() => undefined);
      }
      if (!stop.aborted) await file.datasync();
      return file;
    } catch {
      // Most often a full disk. The writer makes the file itself when it needs one, and reports what goes wrong then.
      await file?.close().catch(() => undefined);
      await removeIfThere(this.#fileSystem, this.#path).catch(() => undefined);
      return null;
    }
  }
}

export async function removeIfThere(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.removeFile(path);
  } catch (error) {
    if (!isFileError(error, 'ENOENT')) throw error;
  }
}
