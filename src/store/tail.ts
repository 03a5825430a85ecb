// The live tail's one reader: follows every valid topic from its end while somebody listens, and hands each record to the
// listeners. It belongs to no consumer group, so it holds nothing back and is held back by nothing.
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../core/errors.ts';
import type { EventLog, StoredRecord } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';

/** Between two looks at topics without news. */
const idleMs = 100;
/** Between two looks for topics that have come since. */
const topicsMs = 1_000;
const recordsMax = 500;
const bytesMax = 1_048_576;

/** Where a reader is: the next offset of each partition, by valid topic. */
export type Offsets = ReadonlyMap<string, readonly number[]>;

/** Takes what the tail reads. Must not throw. */
export interface TailListener {
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
  readonly #listeners = new Set<TailListener>();
  readonly #offsets = new Map<string, number[]>();
  #running: Promise<void> | null = null;
  #stopping = new AbortController();

  constructor(log: EventLog, directory: Directory, logger: Logger) {
    this.#log = log;
    this.#directory = directory;
    this.#logger = logger;
  }

  /**
   * Begins to listen; resolves to where the tail is, which is the end of each topic for the first listener. Everything at
   * or behind these offsets is handed over.
   */
  async listen(listener: TailListener): Promise<Offsets> {
    if (this.#running === null) {
      this.#stopping = new AbortController();
      this.#offsets.clear();
      await this.#findTopics();
      this.#running ??= this.#run(this.#stopping.signal);
    }
    this.#listeners.add(listener);
    return new Map([...this.#offsets].map(([topic, offsets]) => [topic, [...offsets]]));
  }

  /** Where the tail is now. */
  next(topic: string, partition: number): number | undefined {
    return this.#offsets.get(topic)?.[partition];
  }

  /** Ends listening; the tail rests when nobody listens. */
  leave(listener: TailListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#stopping.abort();
    this.#running = null;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let topicsAtMs = performance.now();
    while (!signal.aborted) {
      try {
        if (performance.now() - topicsAtMs >= topicsMs) {
          topicsAtMs = performance.now();
          await this.#findTopics();
        }
        if (!(await this.#readAll(signal))) await sleep(idleMs, undefined, { signal });
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ err: error }, 'the live tail could not read the log and tries again');
        await sleep(topicsMs, undefined, { signal }).catch(() => {}); // Aborted: the loop sees it.
      }
    }
  }

  /** Topics that were made since are read from their beginning: nobody could have seen their first records. */
  async #findTopics(): Promise<void> {
    const isStart = this.#offsets.size === 0;
    for (const { names } of this.#directory.topicSets()) {
      if (this.#offsets.has(names.valid) || (await this.#log.describeTopic(names.valid)) === null) continue;
      const bounds = await this.#log.bounds(names.valid);
      this.#offsets.set(
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
export async function readOn(log: EventLog, topic: string, partition: number, offset: number): Promise<ReadOn> {
  try {
    return { kind: 'records', records: await log.read(topic, partition, offset, { recordsMax, bytesMax }) };
  } catch (error) {
    if (!hasCode(error, 'PULSE_LOG_OFFSET_LOST')) throw error;
    const bounds = (await log.bounds(topic)).find((entry) => entry.partition === partition);
    return { kind: 'lost', next: bounds?.earliest ?? offset };
  }
}
