// The one writer of a topic: gathers appends into groups, makes one group durable at a time, then publishes it.
// Invariants I1-I5 of SPEC.md are kept here.
import type { Clock } from '../../../core/clock.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { EventLogSettings } from '../config.ts';
import { type LogRecord, logError } from '../event-log.ts';
import { isDiskFull } from './file-system.ts';
import { GroupBuilder } from './group-codec.ts';
import type { JournalFiles } from './journal-files.ts';
import { logCounts, logMetrics } from './metrics.ts';
import type { PublishedEnd } from './topic-files.ts';

/** One append call that waits for its group. */
interface Waiter {
  readonly offsets: readonly number[];
  readonly resolve: (offsets: readonly number[]) => void;
  readonly reject: (error: Error) => void;
}

interface Gathering {
  readonly builder: GroupBuilder;
  waiters: Waiter[];
}

/** Buffers of this size are kept between groups; larger ones are given back after use. */
const keptBufferBytes = 2 * 1_048_576;
const firstBufferBytes = 65_536;
const retryAfterMs = 1_000;

/** Appends to one topic. Made once the journal is recovered and locked. */
export class JournalWriter {
  readonly #files: JournalFiles;
  readonly #settings: EventLogSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #incarnation: Buffer;
  readonly #onPublished: (end: PublishedEnd) => void;
  /** Groups not yet being written, oldest first; appends go into the last one. */
  #queue: Gathering[] = [];
  #free: GroupBuilder[] = [];
  /** Next offset per partition, waiting records included. */
  #ends: number[];
  #lastTimeMs: number;
  #pendingBytes = 0;
  #running: Promise<void> | null = null;
  #closed = false;
  #failing = false;

  constructor(options: {
    readonly files: JournalFiles;
    readonly settings: EventLogSettings;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly incarnation: Buffer;
    readonly lastTimeMs: number;
    readonly onPublished: (end: PublishedEnd) => void;
  }) {
    this.#files = options.files;
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#incarnation = options.incarnation;
    this.#lastTimeMs = options.lastTimeMs;
    this.#onPublished = options.onPublished;
    this.#ends = [...options.files.published.ends];
  }

  /** As EventLog.append. */
  append(records: readonly LogRecord[]): Promise<readonly number[]> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw logError('PULSE_LOG_CLOSED', 'The event log is closed; nothing was appended.');
      if (records.length === 0) {
        resolve([]);
        return;
      }
      const gathering = this.#gatheringFor(records);
      const before = gathering.builder.usedBytes;
      const offsets = gathering.builder.add(records, this.#ends);
      gathering.waiters.push({ offsets, resolve, reject });
      this.#countPending(gathering.builder.usedBytes - before);
      if (this.#running === null) this.#running = this.#run();
    });
  }

  /** The group that takes these records; refuses them when too much is waiting already. */
  #gatheringFor(records: readonly LogRecord[]): Gathering {
    let bytes = 0;
    for (const record of records) bytes += record.value.length;
    const bytesMax = this.#settings.PULSE_LOG_PENDING_BYTES_MAX;
    if (bytes > bytesMax) {
      const detail = `One append has ${bytes} bytes; at most ${bytesMax} may wait for the disk (PULSE_LOG_PENDING_BYTES_MAX).`;
      throw logError('PULSE_LOG_RECORD_INVALID', detail);
    }
    if (this.#pendingBytes + bytes > bytesMax) {
      logCounts.overloaded++;
      const detail = `${this.#pendingBytes} bytes wait for the disk; at most ${bytesMax} may. Nothing was appended.`;
      throw logError('PULSE_LOG_OVERLOADED', detail, { retryAfterMs });
    }
    const last = this.#queue.at(-1);
    const groupMax = this.#settings.PULSE_LOG_GROUP_BYTES_MAX;
    if (last !== undefined && (last.waiters.length === 0 || last.builder.usedBytes + bytes <= groupMax)) {
      return last;
    }
    const made = { builder: this.#free.pop() ?? new GroupBuilder(firstBufferBytes), waiters: [] };
    this.#queue.push(made);
    return made;
  }

  #countPending(bytes: number): void {
    this.#pendingBytes += bytes;
    logCounts.pendingBytes += bytes;
  }

  async #run(): Promise<void> {
    // One turn of the event loop, so that all requests that arrived together share the first group.
    await new Promise((resolve) => setImmediate(resolve));
    for (;;) {
      const group = this.#queue.shift();
      if (group === undefined) break;
      if (group.waiters.length > 0) await this.#store(group);
      this.#recycle(group.builder);
    }
    this.#running = null;
  }

  /** Makes one group durable and answers its callers. The next group is not touched before (I2). */
  async #store(group: Gathering): Promise<void> {
    const { builder, waiters } = group;
    const bytesGathered = builder.usedBytes - emptyGroupBytes;
    try {
      const timeMs = Math.max(this.#lastTimeMs, this.#clock.now());
      const sequence = this.#files.published.sequence + 1;
      const bytes = builder.seal(sequence, timeMs, this.#incarnation);
      const startedAt = performance.now();
      const end = await this.#files.store(bytes, builder, timeMs);
      logMetrics.groupCommitSeconds.observe((performance.now() - startedAt) / 1000);
      this.#lastTimeMs = timeMs;
      this.#countStored(builder.recordCount, bytes.length);
      this.#countPending(-bytesGathered);
      this.#onPublished(end);
      for (const waiter of waiters) waiter.resolve(waiter.offsets);
    } catch (cause) {
      this.#countPending(-bytesGathered);
      this.#failAll(waiters, cause);
    }
  }

  #countStored(records: number, bytes: number): void {
    logCounts.groups++;
    logCounts.appendedRecords += records;
    logCounts.appendedBytes += bytes;
    if (!this.#failing) return;
    this.#failing = false;
    this.#logger.info('the event log takes records again');
  }

  /**
   * Rejects the failed group and all groups gathered behind it: their offsets were counted from a group that is no more.
   */
  #failAll(waiters: readonly Waiter[], cause: unknown): void {
    const full = isDiskFull(cause);
    if (full) logCounts.diskFull++;
    else logCounts.syncFailures++;
    if (!this.#failing) this.#logger.error({ err: cause }, 'the event log could not make records durable');
    this.#failing = true;
    const why = cause instanceof Error ? cause.message : String(cause);
    const error = full
      ? logError('PULSE_LOG_DISK_FULL', `No space is left for the event log: ${why}.`, {
          cause,
          retryAfterMs,
        })
      : logError('PULSE_LOG_FAILED', `The records could not be made durable: ${why}.`, {
          cause,
          retryAfterMs,
        });
    this.#ends = [...this.#files.published.ends];
    const behind = this.#queue;
    this.#queue = [];
    for (const waiter of waiters) waiter.reject(error);
    for (const gathering of behind) {
      this.#countPending(-(gathering.builder.usedBytes - emptyGroupBytes));
      for (const waiter of gathering.waiters) waiter.reject(error);
      this.#recycle(gathering.builder);
    }
  }

  #recycle(builder: GroupBuilder): void {
    builder.reset(keptBufferBytes);
    if (this.#free.length < 2) this.#free.push(builder);
  }

  /** Waits for appends under way, then lets go of the files. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#running !== null) await this.#running;
    await this.#files.close();
  }
}

const emptyGroupBytes = new GroupBuilder(64).usedBytes;
