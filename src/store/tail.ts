// The live tail's one reader: follows every valid topic from its end while somebody listens, and hands each record to the
// listeners. It belongs to no consumer group, so it holds nothing back and is held back by nothing.
import { hasCode } from '../core/errors.ts';
import type { EventLog, StoredRecord } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import { pause } from './backoff.ts';

/** Between two looks at topics without news. */
const idleMs = 50;
/** Between two looks for topics that have come since. */
const topicsMs = 1_000;
/** One read is small beside a client's buffer, so that a burst fills none before its socket has had a turn. */
const recordsMax = 500;
const bytesMax = 262_144;

/** Where a reader is: the next offset of each partition, by valid topic. */
export type Offsets = ReadonlyMap<string, readonly number[]>;

/** Takes what the tail reads. Must not throw. */
export interface TailListener {
  /** Called once, before anything else: everything at or behind these offsets is handed over. */
  begin(offsets: Offsets): void;
  /** Records of one partition, in order. */
  take(topic: string, partition: number, records: readonly StoredRecord[]): void;
  /** Records of one partition were removed before they could be read; `next` is the first one left. */
  skip(topic: string, partition: number, next: number): void;
}

/** Follows the valid topics for any number of listeners. */
export class Tail {
  readonly #log: EventLog;
  readonly #directory: Directory;
  readonly #logger: Logger;
  /** Who has asked to listen, and of them, who has begun. */
  readonly #members = new Set<TailListener>();
  readonly #listeners = new Set<TailListener>();
  #offsets = new Map<string, number[]>();
  #started: Promise<void> | null = null;
  #stopping = new AbortController();

  constructor(log: EventLog, directory: Directory, logger: Logger) {
    this.#log = log;
    this.#directory = directory;
    this.#logger = logger;
  }

  /** Begins to listen; the first listener begins at the end of each topic. Errors: those of EventLog. */
  async listen(listener: TailListener): Promise<void> {
    this.#members.add(listener);
    this.#started ??= this.#start();
    await this.#started;
    if (!this.#members.has(listener)) return;
    this.#listeners.add(listener);
    listener.begin(new Map([...this.#offsets].map(([topic, offsets]) => [topic, [...offsets]])));
  }

  /** Where the tail is now. */
  next(topic: string, partition: number): number {
    return this.#offsets.get(topic)?.[partition] ?? 0;
  }

  /** Ends listening; the tail rests when nobody listens. */
  leave(listener: TailListener): void {
    this.#listeners.delete(listener);
    if (!this.#members.delete(listener) || this.#members.size > 0) return;
    this.#stopping.abort();
    this.#started = null;
  }

  async #start(): Promise<void> {
    const stopping = new AbortController();
    this.#stopping = stopping;
    this.#offsets = new Map();
    try {
      await this.#findTopics();
    } catch (error) {
      if (this.#stopping === stopping) this.#started = null;
      throw error;
    }
    void this.#run(stopping.signal);
  }

  /** Never rejects: what goes wrong is logged and tried again. */
  async #run(signal: AbortSignal): Promise<void> {
    let topicsAtMs = performance.now();
    while (!signal.aborted) {
      try {
        if (performance.now() - topicsAtMs >= topicsMs) {
          topicsAtMs = performance.now();
          await this.#findTopics();
        }
        if (!(await this.#readAll(signal))) await pause(idleMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ err: error }, 'the live tail could not read the log and tries again');
        await pause(topicsMs, signal);
      }
    }
  }

  /** Topics that were made since are read from their beginning: nobody could have seen their first records. */
  async #findTopics(): Promise<void> {
    const offsets = this.#offsets;
    const isStart = offsets.size === 0;
    for (const { names } of this.#directory.topicSets()) {
      if (offsets.has(names.valid) || (await this.#log.describeTopic(names.valid)) === null) continue;
      const bounds = await this.#log.bounds(names.valid);
      offsets.set(
        names.valid,
        bounds.map((entry) => (isStart ? entry.end : entry.earliest)),
      );
    }
  }

  async #readAll(signal: AbortSignal): Promise<boolean> {
    let hasNews = false;
    for (const [topic, offsets] of this.#offsets) {
      for (let partition = 0; partition < offsets.length && !signal.aborted; partition++) {
        hasNews = (await this.#readPartition(topic, partition, offsets)) || hasNews;
      }
    }
    return hasNews;
  }

  async #readPartition(topic: string, partition: number, offsets: number[]): Promise<boolean> {
    const offset = offsets[partition] as number;
    const result = await readOn(this.#log, topic, partition, offset);
    // Meanwhile everybody may have left, and a new session may have begun.
    if (this.#offsets.get(topic) !== offsets) return false;
    if (result.kind === 'lost') {
      offsets[partition] = result.next;
      for (const listener of this.#listeners) listener.skip(topic, partition, result.next);
      return true;
    }
    const last = result.records.at(-1);
    if (last === undefined) return false;
    offsets[partition] = last.offset + 1;
    for (const listener of this.#listeners) listener.take(topic, partition, result.records);
    return true;
  }
}

/** What comes next in a partition. */
export type ReadOn =
  | { readonly kind: 'records'; readonly records: readonly StoredRecord[] }
  | { readonly kind: 'lost'; readonly next: number };

/** Reads a bounded number of records from an offset on; says where to go on when retention has removed them. */
export async function readOn(
  log: EventLog,
  topic: string,
  partition: number,
  offset: number,
): Promise<ReadOn> {
  try {
    return { kind: 'records', records: await log.read(topic, partition, offset, { recordsMax, bytesMax }) };
  } catch (error) {
    if (!hasCode(error, 'PULSE_LOG_OFFSET_LOST')) throw error;
    const bounds = (await log.bounds(topic)).find((entry) => entry.partition === partition);
    return { kind: 'lost', next: bounds?.earliest ?? offset };
  }
}
