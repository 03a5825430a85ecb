// One topic of one EventLog: its reader, its writer once something is appended, and the news of what became durable.
import { join } from 'node:path';
import type { Clock } from '../../../core/clock.ts';
import { hasCode, PulseError } from '../../../core/errors.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { EventLogSettings } from '../config.ts';
import { type LogRecord, logError } from '../event-log.ts';
import { type FileSystem, isDiskFull, type LogFile } from './file-system.ts';
import { JournalFiles } from './journal-files.ts';
import { JournalReader } from './journal-reader.ts';
import { JournalWriter } from './journal-writer.ts';
import { readHeadFile, readJournal } from './recovery.ts';
import { decodeHead, headBytes, headName, type PublishedEnd, type TopicDescription } from './topic-files.ts';

/** What a topic needs from its EventLog. */
export interface TopicContext {
  readonly fileSystem: FileSystem;
  readonly settings: EventLogSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Pause of a follower while records keep coming, and how long it takes for "keep coming" to end. */
const busyPauseMs = 1;
const busyForMs = 50;
/** A topic that was found damaged is looked at again after this long. */
const damageRetryMs = 1_000;

/** Opens lazily: reading needs no lock, the first append takes it. */
export class Topic {
  readonly info: TopicDescription;
  readonly reader: JournalReader;
  readonly #context: TopicContext;
  readonly #headFile: LogFile;
  readonly #headBuffer: Buffer;
  #published: PublishedEnd;
  #files: JournalFiles | null = null;
  #writer: JournalWriter | null = null;
  #opening: Promise<JournalWriter> | null = null;
  readonly #listeners = new Set<() => void>();
  #followTimer: NodeJS.Timeout | null = null;
  #changedAt = 0;
  #pauseMs = busyPauseMs;

  private constructor(
    context: TopicContext,
    info: TopicDescription,
    headFile: LogFile,
    published: PublishedEnd,
  ) {
    this.#context = context;
    this.info = info;
    this.#headFile = headFile;
    this.#headBuffer = Buffer.alloc(headBytes(info.partitions));
    this.#published = published;
    this.reader = new JournalReader(context.fileSystem, info, () => this.published());
  }

  /** Errors: PULSE_LOG_CORRUPT when the end of the journal must be searched and is damaged. */
  static async open(context: TopicContext, info: TopicDescription): Promise<Topic> {
    const headFile = await context.fileSystem.open(join(info.directory, headName), 'read');
    try {
      const published = await findPublished(context, info, headFile);
      return new Topic(context, info, headFile, published);
    } catch (error) {
      await headFile.close();
      throw error;
    }
  }

  /** What is durable now. */
  published(): PublishedEnd {
    if (this.#files === null) this.#readHead();
    return this.#published;
  }

  /** The files, when this EventLog is the topic's writer. */
  get files(): JournalFiles | null {
    return this.#files;
  }

  #readHead(): void {
    const count = this.#headFile.readSync(this.#headBuffer, 0);
    const head = decodeHead(this.#headBuffer.subarray(0, count));
    // Null: caught in the middle of a write; the next look sees it whole. Another boot: see findPublished.
    if (head === null || head.bootId !== this.#context.fileSystem.bootId()) return;
    if (head.sequence < this.#published.sequence) return;
    if (head.sequence === this.#published.sequence && head.earliestBase === this.#published.earliestBase)
      return;
    this.#published = head;
  }

  /** As EventLog.append. */
  append(records: readonly LogRecord[]): Promise<readonly number[]> {
    if (this.#writer !== null) return this.#writer.append(records);
    return this.openWriter().then((writer) => writer.append(records));
  }

  /** Takes the topic's lock and recovers its journal. Errors: PULSE_LOG_IN_USE, PULSE_LOG_CORRUPT. */
  openWriter(): Promise<JournalWriter> {
    this.#opening ??= this.#openWriter().catch((error: unknown) => {
      // Damage does not mend itself: the search for it is not repeated for every append.
      if (hasCode(error, 'PULSE_LOG_CORRUPT')) setTimeout(() => this.#forgetOpening(), damageRetryMs).unref();
      else this.#forgetOpening();
      if (error instanceof PulseError) throw error;
      const code = isDiskFull(error) ? 'PULSE_LOG_DISK_FULL' : 'PULSE_LOG_FAILED';
      const why = error instanceof Error ? error.message : String(error);
      throw logError(code, `Topic ${this.info.topic} could not be opened for writing: ${why}.`, {
        cause: error,
      });
    });
    return this.#opening;
  }

  #forgetOpening(): void {
    this.#opening = null;
  }

  async #openWriter(): Promise<JournalWriter> {
    const { fileSystem, settings, clock, logger } = this.#context;
    const options = {
      fileSystem,
      topic: this.info,
      settings,
      logger: logger.child({ topic: this.info.topic }),
    };
    const { files, state } = await JournalFiles.open(options);
    this.#files = files;
    this.#setPublished(files.published);
    this.#writer = new JournalWriter({
      files,
      settings,
      clock,
      logger: options.logger,
      incarnation: this.info.incarnationBytes,
      lastTimeMs: state.lastTimeMs,
      onPublished: (end) => this.#setPublished(end),
    });
    return this.#writer;
  }

  /** Told by the writer of this process. */
  #setPublished(end: PublishedEnd): void {
    this.#published = end;
    for (const wake of this.#listeners) wake();
  }

  /** Removes nothing itself: tells readers that segments below this one are about to go. */
  publishEarliest(earliestBase: number): void {
    if (this.#files !== null) this.#setPublished(this.#files.publishEarliest(earliestBase));
  }

  /** Calls `wake` whenever something became durable, until the returned function is called. */
  listen(wake: () => void): () => void {
    this.#listeners.add(wake);
    if (this.#files === null) this.#follow();
    return () => {
      this.#listeners.delete(wake);
      if (this.#listeners.size > 0 || this.#followTimer === null) return;
      clearTimeout(this.#followTimer);
      this.#followTimer = null;
    };
  }

  /** Looks at the head again and again while somebody waits: often while records come, seldom when it is quiet. */
  #follow(): void {
    if (this.#followTimer !== null || this.#listeners.size === 0 || this.#files !== null) return;
    this.#followTimer = setTimeout(() => {
      this.#followTimer = null;
      const before = this.#published;
      this.#readHead();
      const now = performance.now();
      if (before === this.#published) {
        const pauseMax = this.#context.settings.PULSE_LOG_FOLLOW_MS_MAX;
        if (now - this.#changedAt > busyForMs) this.#pauseMs = Math.min(this.#pauseMs * 2, pauseMax);
      } else {
        this.#changedAt = now;
        this.#pauseMs = busyPauseMs;
        for (const wake of this.#listeners) wake();
      }
      this.#follow();
    }, this.#pauseMs);
  }

  async close(): Promise<void> {
    if (this.#followTimer !== null) clearTimeout(this.#followTimer);
    this.#followTimer = null;
    this.#listeners.clear();
    try {
      await (await this.#opening?.catch(() => null))?.close();
    } finally {
      await this.#headFile.close();
    }
  }
}

/**
 * What is durable, for a reader that may come before the writer.
 * A head of this boot is exact. After a power loss the head may be old or torn; then everything whole in the files is
 * durable, because nothing has been written since.
 */
async function findPublished(
  context: TopicContext,
  info: TopicDescription,
  headFile: LogFile,
): Promise<PublishedEnd> {
  const head = await readHeadFile(info, headFile);
  if (head !== null && head.bootId === context.fileSystem.bootId()) return head;
  return (await readJournal(context.fileSystem, info, head)).end;
}
