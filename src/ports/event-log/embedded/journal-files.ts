// The files that a topic's writer holds: the segment being written, the next one, the head, and the lock.
// `store` is the only way to durability; after a failure it first puts the files back to the last durable group.

import { dirname, join } from 'node:path';
import { failpoint } from '../../../core/failpoint.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { EventLogSettings } from '../config.ts';
import { logError } from '../event-log.ts';
import type { FileLock, FileSystem, LogFile } from './file-system.ts';
import type { GroupBuilder } from './group-codec.ts';
import { logCounts } from './metrics.ts';
import { type JournalState, readHeadFile, readJournal, type UnfinishedGroup } from './recovery.ts';
import { removeIfThere, SegmentPreparer } from './segment-preparer.ts';
import {
  encodeHead,
  encodeSegmentHeader,
  type Head,
  headBytes,
  headName,
  type PublishedEnd,
  readWhole,
  segmentHeaderBytes,
  segmentName,
  spareName,
  type TopicDescription,
  writeWhole,
} from './topic-files.ts';

/** Groups up to this size are copied into the page cache on this thread: cheaper than a trip to another one. */
const directWriteBytesMax = 131_072;

export interface JournalFilesOptions {
  readonly fileSystem: FileSystem;
  readonly topic: TopicDescription;
  readonly settings: EventLogSettings;
  readonly logger: Logger;
}

/** Opens the journal for writing: see `openJournal`. */
export class JournalFiles {
  readonly #options: JournalFilesOptions;
  readonly #lock: FileLock;
  readonly #preparer: SegmentPreparer;
  readonly #headBuffer: Buffer;
  readonly #head: LogFile;
  #segment: LogFile | null;
  /** Size at which the segment being written is full. */
  #segmentBytes: number;
  #published: PublishedEnd;
  /** Puts the files back to the last durable group; set by a failure. */
  #repair: (() => Promise<void>) | null = null;
  #rollNext = false;

  private constructor(
    options: JournalFilesOptions,
    lock: FileLock,
    head: LogFile,
    segment: LogFile | null,
    state: JournalState,
  ) {
    this.#options = options;
    this.#lock = lock;
    this.#head = head;
    this.#segment = segment;
    this.#published = state.end;
    this.#headBuffer = Buffer.alloc(headBytes(options.topic.partitions));
    this.#segmentBytes = Math.max(state.lastSegmentBytes, options.settings.PULSE_LOG_SEGMENT_BYTES_MIN);
    this.#preparer = new SegmentPreparer(
      options.fileSystem,
      options.topic.directory,
      options.settings.PULSE_LOG_PREPARE_BYTES_PER_SECOND,
    );
  }

  get published(): PublishedEnd {
    return this.#published;
  }

  /**
   * Locks the topic, cuts an unfinished last group off, and makes sure that everything readable is durable (I7).
   * Errors: PULSE_LOG_IN_USE, PULSE_LOG_CORRUPT.
   */
  static async open(options: JournalFilesOptions): Promise<{ files: JournalFiles; state: JournalState }> {
    const { fileSystem, topic } = options;
    const lock = await takeLock(options);
    let segment: LogFile | null = null;
    let headFile: LogFile | null = null;
    try {
      await removeIfThere(fileSystem, join(topic.directory, spareName));
      headFile = await fileSystem.open(join(topic.directory, headName), 'update');
      const state = await readWithoutLoneGroup(options, await readHeadFile(topic, headFile));
      if (state.end.segmentBase > 0) {
        segment = await fileSystem.open(join(topic.directory, segmentName(state.end.segmentBase)), 'update');
      }
      await cutUnfinished(options, segment, state);
      await segment?.datasync();
      await fileSystem.syncDirectory(topic.directory);
      await fileSystem.syncDirectory(dirname(topic.directory));
      failpoint('log.tail_recovered');
      const files = new JournalFiles(options, lock, headFile, segment, state);
      files.#writeHead();
      return { files, state };
    } catch (error) {
      await segment?.close();
      await headFile?.close();
      lock.release();
      throw error;
    }
  }

  /**
   * Makes a sealed group durable and publishes it.
   * Guarantees: resolves after fdatasync (I1). After a rejection the next call starts by undoing what was written.
   * Errors: those of the file system.
   */
  async store(bytes: Buffer, group: GroupBuilder, timeMs: number): Promise<PublishedEnd> {
    if (this.#repair !== null) {
      await this.#repair();
      this.#repair = null;
    }
    const { position } = this.#published;
    const fits = !this.#rollNext && this.#segment !== null && position + bytes.length <= this.#segmentBytes;
    if (fits) await this.#writeHere(this.#segment as LogFile, bytes, position);
    else await this.#writeIntoNext(bytes, timeMs);
    failpoint('log.group_synced');
    this.#publish(bytes.length, group);
    failpoint('log.group_published');
    this.#prepareNext();
    return this.#published;
  }

  async #writeHere(segment: LogFile, bytes: Buffer, position: number): Promise<void> {
    this.#repair = () => this.#cutBack();
    if (bytes.length <= directWriteBytesMax) segment.writeSync(bytes, position);
    else await segment.write(bytes, position);
    failpoint('log.group_written');
    try {
      await segment.datasync();
    } catch (error) {
      // The kernel may have dropped the dirty pages and call them clean: a second fdatasync would lie. Write elsewhere.
      this.#rollNext = true;
      throw error;
    }
    this.#repair = null;
  }

  /** Re-opens the segment and cuts it at the last durable byte, durably. */
  async #cutBack(): Promise<void> {
    const { fileSystem, topic } = this.#options;
    const old = this.#segment;
    this.#segment = null;
    await old?.close().catch(() => undefined); // The error that led here is the one that counts.
    const path = join(topic.directory, segmentName(this.#published.segmentBase));
    const segment = await fileSystem.open(path, 'update');
    try {
      await segment.truncate(this.#published.position);
      await segment.datasync();
    } catch (error) {
      await segment.close();
      throw error;
    }
    this.#segment = segment;
  }

  /**
   * Begins the next segment with this group. Its name appears only once header and group are durable, so a segment
   * that can be seen always has a good first group (I8).
   */
  async #writeIntoNext(bytes: Buffer, timeMs: number): Promise<void> {
    const { fileSystem, topic, settings } = this.#options;
    const { sequence, segmentBase, ends } = this.#published;
    const first = segmentBase === 0;
    const base = sequence + 1;
    const size = first
      ? settings.PULSE_LOG_SEGMENT_BYTES_MIN
      : Math.max(
          Math.min(this.#segmentBytes * 2, settings.PULSE_LOG_SEGMENT_BYTES_MAX),
          settings.PULSE_LOG_SEGMENT_BYTES_MIN,
        );
    if (first) this.#preparer.start(size);
    const next = (await this.#preparer.take(first ? 'finish' : 'now')) ?? (await this.#makeSpare());
    const path = join(topic.directory, segmentName(base));
    this.#repair = async () => {
      await next.close().catch(() => undefined);
      await removeIfThere(fileSystem, this.#preparer.path);
      await removeIfThere(fileSystem, path);
      await fileSystem.syncDirectory(topic.directory);
    };
    const headerBytes = segmentHeaderBytes(topic.partitions);
    const header = { base, previousBase: segmentBase, firstTimeMs: timeMs, headerBytes, startOffsets: ends };
    await next.write(encodeSegmentHeader(header, topic.incarnationBytes), 0);
    await next.write(bytes, headerBytes);
    await next.datasync();
    failpoint('log.segment_synced');
    await fileSystem.rename(this.#preparer.path, path);
    await fileSystem.syncDirectory(topic.directory);
    failpoint('log.segment_named');
    this.#repair = null;
    this.#rollNext = false;
    const old = this.#segment;
    this.#segment = next;
    this.#segmentBytes = size;
    this.#published = {
      ...this.#published,
      segmentBase: base,
      position: headerBytes,
      earliestBase: first ? base : this.#published.earliestBase,
    };
    await old?.close();
  }

  async #makeSpare(): Promise<LogFile> {
    await removeIfThere(this.#options.fileSystem, this.#preparer.path);
    return await this.#options.fileSystem.open(this.#preparer.path, 'create');
  }

  #publish(bytes: number, group: GroupBuilder): void {
    const ends = [...this.#published.ends];
    for (const share of group.shares()) ends[share.partition] = share.firstOffset + share.records;
    this.#published = {
      sequence: this.#published.sequence + 1,
      segmentBase: this.#published.segmentBase,
      position: this.#published.position + bytes,
      earliestBase: this.#published.earliestBase,
      ends,
    };
    // Acknowledged records are always inside the head (I4): recovery cuts a single group that is not.
    this.#repair = async () => this.#writeHead();
    this.#writeHead();
    this.#repair = null;
  }

  #writeHead(): void {
    encodeHead(this.#headBuffer, { ...this.#published, bootId: this.#options.fileSystem.bootId() });
    this.#head.writeSync(this.#headBuffer, 0);
  }

  #prepareNext(): void {
    if (this.#published.position * 2 < this.#segmentBytes) return;
    this.#preparer.start(
      Math.min(this.#segmentBytes * 2, this.#options.settings.PULSE_LOG_SEGMENT_BYTES_MAX),
    );
  }

  /** Tells readers that segments below `earliestBase` are gone. */
  publishEarliest(earliestBase: number): PublishedEnd {
    this.#published = { ...this.#published, earliestBase };
    this.#writeHead();
    return this.#published;
  }

  async close(): Promise<void> {
    try {
      await this.#preparer.discard();
      // When this fails too, the next open finds the same unfinished group and cuts it.
      await this.#repair?.().catch((error: unknown) =>
        this.#options.logger.warn({ err: error }, 'could not tidy up'),
      );
      await this.#segment?.close();
      await this.#head.datasync();
    } finally {
      await this.#head.close();
      this.#lock.release();
    }
  }
}

/** Removes a segment that holds nothing but an unfinished group; the segment before it may have a tail of its own. */
async function readWithoutLoneGroup(options: JournalFilesOptions, head: Head | null): Promise<JournalState> {
  const { fileSystem, topic } = options;
  for (;;) {
    const state = await readJournal(fileSystem, topic, head);
    if (state.unfinished === null || !state.unfinished.isWholeFile) return state;
    noteCut(options, state.unfinished);
    await fileSystem.removeFile(state.unfinished.file);
    await fileSystem.syncDirectory(topic.directory);
  }
}

async function cutUnfinished(
  options: JournalFilesOptions,
  segment: LogFile | null,
  { unfinished, end }: JournalState,
): Promise<void> {
  if (unfinished === null) return;
  noteCut(options, unfinished);
  await segment?.truncate(end.position);
}

function noteCut(options: JournalFilesOptions, unfinished: UnfinishedGroup): void {
  options.logger.warn(unfinished, 'cut an unfinished last group off; it was never acknowledged');
  logCounts.tornTails++;
}

/** The lock of the topic's one writer (I9). */
async function takeLock({ fileSystem, topic, logger }: JournalFilesOptions): Promise<FileLock> {
  const lock = fileSystem.lock(join(topic.directory, 'writer.lock'));
  const pidPath = join(topic.directory, 'writer.pid');
  if (lock === null) {
    const holder = await readPid(fileSystem, pidPath);
    throw logError('PULSE_LOG_IN_USE', `Process ${holder} writes to topic ${topic.topic} already.`, {
      details: { topic: topic.topic, pid: holder },
    });
  }
  // Only for the message above: a full disk must not keep the topic from being opened.
  await writePid(fileSystem, pidPath).catch((error: unknown) =>
    logger.warn({ err: error }, 'writer.pid was not written'),
  );
  return lock;
}

async function writePid(fileSystem: FileSystem, path: string): Promise<void> {
  await removeIfThere(fileSystem, path);
  await writeWhole(fileSystem, path, Buffer.from(String(process.pid)), false);
}

async function readPid(fileSystem: FileSystem, path: string): Promise<string> {
  const bytes = await readWhole(fileSystem, path);
  return bytes === null || bytes.length === 0 ? 'unknown' : bytes.toString('latin1');
}
