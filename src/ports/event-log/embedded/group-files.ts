// The files of a consumer group (SPEC.md §7). The group's one current directory is named after its generation; renaming
// it to the next generation takes the group over and hands the offsets on, in one atomic step.

import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { failpoint } from '../../../core/failpoint.ts';
import { logError } from '../event-log.ts';
import { type FileSystem, isFileError } from './file-system.ts';
import { logCounts } from './metrics.ts';
import { groupsDirectory, readWhole, writeWhole } from './topic-files.ts';

/** Committed offsets of one topic, by partition; null where nothing was committed yet. */
export interface TopicOffsets {
  readonly incarnation: string;
  readonly offsets: (number | null)[];
}

/** Everything a group remembers. */
export interface GroupOffsets {
  /** Counts the writes; of two copies the higher one is newer. */
  readonly revision: number;
  readonly topics: Map<string, TopicOffsets>;
}

export const groupNamePattern = /^[a-z0-9_][a-z0-9._-]{0,199}$/;
const generationPattern = /^\d{10}$/;
const offsetsName = 'offsets';
const syncedOffsetsName = 'offsets.synced';

function generationName(generation: number): string {
  return String(generation).padStart(10, '0');
}

/** The right to commit for a group, until the next one claims it. */
export class GroupClaim {
  readonly group: string;
  readonly #fileSystem: FileSystem;
  readonly #groupDirectory: string;
  readonly #directory: string;
  readonly #name: string;
  readonly #instance = randomUUID().slice(0, 8);
  #files = 0;

  private constructor(fileSystem: FileSystem, groupDirectory: string, name: string, group: string) {
    this.group = group;
    this.#fileSystem = fileSystem;
    this.#groupDirectory = groupDirectory;
    this.#name = name;
    this.#directory = join(groupDirectory, name);
  }

  /** Takes the group over from whoever holds it (I11), and reads what was committed. */
  static async take(
    fileSystem: FileSystem,
    directory: string,
    group: string,
  ): Promise<{ claim: GroupClaim; offsets: GroupOffsets }> {
    const groupDirectory = join(groupsDirectory(directory), group);
    await fileSystem.createDirectory(groupDirectory);
    await fileSystem.syncDirectory(groupsDirectory(directory));
    for (;;) {
      const current = await currentGeneration(fileSystem, groupDirectory);
      const name = generationName((current ?? 0) + 1);
      const target = join(groupDirectory, name);
      try {
        if (current === null) await makeFirst(fileSystem, groupDirectory, target);
        else await fileSystem.rename(join(groupDirectory, generationName(current)), target);
      } catch (error) {
        // Another one claimed it in between: look again and claim it from them.
        if (isFileError(error, 'ENOENT', 'EEXIST', 'ENOTEMPTY', 'EPERM')) continue;
        throw error;
      }
      await removeLeftovers(fileSystem, target);
      const claim = new GroupClaim(fileSystem, groupDirectory, name, group);
      return {
        claim,
        offsets: (await readOffsetsIn(fileSystem, target)) ?? { revision: 0, topics: new Map() },
      };
    }
  }

  /** Errors: PULSE_LOG_FENCED once another one claimed the group. */
  async check(): Promise<void> {
    const names: readonly string[] = await this.#fileSystem
      .list(this.#groupDirectory)
      .catch((error: unknown) => {
        if (isFileError(error, 'ENOENT')) return [];
        throw error;
      });
    if (!names.includes(this.#name)) throw this.#fenced();
  }

  /**
   * Writes the offsets so that they survive the end of this process.
   * Guarantees: the last step is a rename inside the claimed directory, so it fails once the group was taken over.
   * Errors: PULSE_LOG_FENCED; nothing took effect then.
   */
  async write(offsets: GroupOffsets): Promise<void> {
    await this.#put(offsets, offsetsName, false);
    logCounts.commits++;
  }

  /** Writes the offsets so that they survive a power loss. Errors: PULSE_LOG_FENCED. */
  async writeDurably(offsets: GroupOffsets): Promise<void> {
    await this.#put(offsets, syncedOffsetsName, true);
    await this.#fileSystem.syncDirectory(this.#directory).catch((error: unknown) => {
      throw isFileError(error, 'ENOENT') ? this.#fenced() : error;
    });
    await this.#fileSystem.syncDirectory(this.#groupDirectory);
  }

  async #put(offsets: GroupOffsets, name: string, sync: boolean): Promise<void> {
    const temporary = join(this.#directory, `${this.#instance}.${this.#files++}.tmp`);
    try {
      await writeWhole(this.#fileSystem, temporary, encodeOffsets(offsets), sync);
      failpoint('log.offsets_written');
      await this.#fileSystem.rename(temporary, join(this.#directory, name));
      failpoint('log.offsets_named');
    } catch (error) {
      throw isFileError(error, 'ENOENT') ? this.#fenced() : error;
    }
  }

  #fenced(): Error {
    logCounts.fenced++;
    return logError('PULSE_LOG_FENCED', `Group ${this.group} was taken over by another consumer.`, {
      details: { group: this.group },
    });
  }
}

/** The first generation appears complete: an empty directory could be replaced by a second claimer. */
async function makeFirst(fileSystem: FileSystem, groupDirectory: string, target: string): Promise<void> {
  const made = join(groupDirectory, `new.${randomUUID()}`);
  await fileSystem.createDirectory(made);
  try {
    await writeWhole(fileSystem, join(made, 'claimed'), Buffer.from('1'), false);
    await fileSystem.rename(made, target);
  } catch (error) {
    await fileSystem.removeDirectory(made);
    throw error;
  }
}

async function removeLeftovers(fileSystem: FileSystem, directory: string): Promise<void> {
  for (const name of await fileSystem.list(directory)) {
    if (name.endsWith('.tmp')) await fileSystem.removeFile(join(directory, name)).catch(() => undefined);
  }
}

async function currentGeneration(fileSystem: FileSystem, groupDirectory: string): Promise<number | null> {
  const names = (await fileSystem.list(groupDirectory)).filter((name) => generationPattern.test(name));
  const last = names.sort().at(-1);
  return last === undefined ? null : Number(last);
}

/** Names of all groups. */
export async function listGroups(fileSystem: FileSystem, directory: string): Promise<readonly string[]> {
  const names = await fileSystem.list(groupsDirectory(directory)).catch((error: unknown) => {
    if (isFileError(error, 'ENOENT')) return [];
    throw error;
  });
  return names.filter((name) => groupNamePattern.test(name));
}

/**
 * What a group committed, read without joining it; null when there is no such group or nothing readable.
 * Guarantees: never older than the last commit of a running owner, as far as this process can see the file.
 */
export async function readGroupOffsets(
  fileSystem: FileSystem,
  directory: string,
  group: string,
): Promise<GroupOffsets | null> {
  return await readCurrent(fileSystem, directory, group, (current) => readOffsetsIn(fileSystem, current));
}

/**
 * As readGroupOffsets, but only what also survives a power loss. Retention goes by this: a commit that is forgotten
 * after the records behind it were removed would leave the group without a place to go on from.
 */
export async function readDurableOffsets(
  fileSystem: FileSystem,
  directory: string,
  group: string,
): Promise<GroupOffsets | null> {
  return await readCurrent(fileSystem, directory, group, async (current) => {
    const synced = decodeOffsets(await readWhole(fileSystem, join(current, syncedOffsetsName)));
    // The bytes were synced before the file got its name; the name may not be durable yet.
    await fileSystem.syncDirectory(current);
    await fileSystem.syncDirectory(dirname(current));
    await fileSystem.syncDirectory(groupsDirectory(directory));
    return synced;
  });
}

async function readCurrent(
  fileSystem: FileSystem,
  directory: string,
  group: string,
  read: (current: string) => Promise<GroupOffsets | null>,
): Promise<GroupOffsets | null> {
  const groupDirectory = join(groupsDirectory(directory), group);
  for (let attempt = 0; attempt < 10; attempt++) {
    try {
      const generation = await currentGeneration(fileSystem, groupDirectory);
      if (generation === null) return null;
      const found = await read(join(groupDirectory, generationName(generation)));
      // The group may have been taken over while its files were read.
      if (found !== null || (await currentGeneration(fileSystem, groupDirectory)) === generation)
        return found;
    } catch (error) {
      if (!isFileError(error, 'ENOENT')) throw error;
    }
  }
  return null;
}

/** Removes a group and what it committed; a running member is fenced. True when there was such a group. */
export async function dropGroupFiles(
  fileSystem: FileSystem,
  directory: string,
  group: string,
): Promise<boolean> {
  if (!groupNamePattern.test(group)) return false;
  const groupDirectory = join(groupsDirectory(directory), group);
  const known = (await listGroups(fileSystem, directory)).includes(group);
  if (!known) return false;
  const doomed = join(groupsDirectory(directory), `.dropped.${randomUUID()}`);
  await fileSystem.rename(groupDirectory, doomed);
  await fileSystem.syncDirectory(groupsDirectory(directory));
  await fileSystem.removeDirectory(doomed);
  return true;
}

async function readOffsetsIn(fileSystem: FileSystem, directory: string): Promise<GroupOffsets | null> {
  const fresh = decodeOffsets(await readWhole(fileSystem, join(directory, offsetsName)));
  const synced = decodeOffsets(await readWhole(fileSystem, join(directory, syncedOffsetsName)));
  if (fresh === null || synced === null) return fresh ?? synced;
  return fresh.revision >= synced.revision ? fresh : synced;
}

const offsetsLine = /^pulse-offsets 1 ([0-9a-f]{8})\n/;

/** A line with the format and a checksum, then JSON. */
function encodeOffsets(offsets: GroupOffsets): Buffer {
  const topics = Object.fromEntries(offsets.topics);
  const body = `${JSON.stringify({ revision: offsets.revision, topics })}\n`;
  const sum = crc32(body).toString(16).padStart(8, '0');
  return Buffer.from(`pulse-offsets 1 ${sum}\n${body}`);
}

/** Null when the bytes are not whole: a power loss may leave a file that was never synced empty or cut. */
function decodeOffsets(bytes: Buffer | null): GroupOffsets | null {
  if (bytes === null) return null;
  const text = bytes.toString('utf8');
  const line = offsetsLine.exec(text);
  if (line === null) return null;
  const body = text.slice(line[0].length);
  if (crc32(body).toString(16).padStart(8, '0') !== line[1]) return null;
  const content = JSON.parse(body) as { revision: number; topics: Record<string, TopicOffsets> };
  return { revision: content.revision, topics: new Map(Object.entries(content.topics)) };
}
