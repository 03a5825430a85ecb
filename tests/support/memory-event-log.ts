// An EventLog in memory for tests of single stages: the port's promises without durability, groups left out.
// Appends can be held back and made to fail, which a real log does not do on demand.
import {
  type EventLog,
  type LogRecord,
  logError,
  type PartitionBounds,
  type PartitionOffset,
  type ReadOptions,
  type StoredRecord,
  type TopicInfo,
  type TopicOptions,
} from '../../src/ports/event-log/event-log.ts';

interface MemoryTopic {
  readonly info: TopicInfo;
  readonly partitions: StoredRecord[][];
}

/** Called before each append; a rejection fails it, a pending promise holds it back. */
export type BeforeAppend = (topic: string, records: readonly LogRecord[]) => Promise<void>;

export class MemoryEventLog implements EventLog {
  readonly capabilities = { groupsAcrossProcesses: false, writersAcrossProcesses: false };
  readonly #topics = new Map<string, MemoryTopic>();
  readonly #now: () => number;
  /** See BeforeAppend; null lets every append through. */
  beforeAppend: BeforeAppend | null = null;
  /** Appends that held records. */
  appends = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async createTopic(topic: string, options: TopicOptions): Promise<TopicInfo> {
    const existing = this.#topics.get(topic);
    if (existing !== undefined) return existing.info;
    const info = { topic, partitions: options.partitions, incarnation: `${topic}-${this.#topics.size + 1}` };
    this.#topics.set(topic, { info, partitions: Array.from({ length: options.partitions }, () => []) });
    return info;
  }

  async describeTopic(topic: string): Promise<TopicInfo | null> {
    return this.#topics.get(topic)?.info ?? null;
  }

  async append(topic: string, records: readonly LogRecord[]): Promise<readonly number[]> {
    const { partitions } = this.#topic(topic);
    // An append of nothing only makes the caller the topic's writer.
    if (records.length === 0) return [];
    this.appends++;
    if (this.beforeAppend !== null) await this.beforeAppend(topic, records);
    return records.map((record) => {
      const partition = partitions[record.partition];
      if (partition === undefined) {
        throw logError('PULSE_LOG_RECORD_INVALID', `partition ${record.partition} does not exist`);
      }
      const offset = partition.length;
      const value = Buffer.from(record.value);
      const { sharedHeaders, ...rest } = record;
      const headers = { ...sharedHeaders, ...record.headers };
      partition.push({ ...rest, headers, value, offset, appendTimeMs: this.#now() });
      return offset;
    });
  }

  async bounds(topic: string): Promise<readonly PartitionBounds[]> {
    return this.#topic(topic).partitions.map((records, partition) => ({
      partition,
      earliest: 0,
      end: records.length,
    }));
  }

  async offsetsAt(topic: string, timeMs: number): Promise<readonly PartitionOffset[]> {
    return this.#topic(topic).partitions.map((records, partition) => {
      const found = records.findIndex((record) => record.appendTimeMs >= timeMs);
      return { topic, partition, offset: found === -1 ? records.length : found };
    });
  }

  async read(
    topic: string,
    partition: number,
    offset: number,
    options: ReadOptions,
  ): Promise<readonly StoredRecord[]> {
    const records = this.#topic(topic).partitions[partition] ?? [];
    const page: StoredRecord[] = [];
    let bytes = 0;
    for (const record of records.slice(offset, offset + options.recordsMax)) {
      bytes += record.value.length;
      if (page.length > 0 && bytes > options.bytesMax) break;
      page.push(record);
    }
    return page;
  }

  /** Every record of a topic, partition by partition. */
  all(topic: string): StoredRecord[] {
    return this.#topic(topic).partitions.flat();
  }

  consume(): never {
    throw new Error('the memory log has no consumer groups');
  }

  lag(): never {
    throw new Error('the memory log has no consumer groups');
  }

  async close(): Promise<void> {}

  #topic(topic: string): MemoryTopic {
    const found = this.#topics.get(topic);
    if (found === undefined) throw logError('PULSE_LOG_TOPIC_UNKNOWN', `there is no topic ${topic}`);
    return found;
  }
}
