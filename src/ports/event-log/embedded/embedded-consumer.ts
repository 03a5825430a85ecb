// One member of a consumer group: polls the partitions it owns, over all its topics.
import {
  type Consumer,
  logError,
  type PartitionBatch,
  type PartitionOffset,
  type PollOptions,
  type TopicPartition,
} from '../event-log.ts';
import type { ConsumerGroup, GroupMember } from './consumer-group.ts';
import type { Topic } from './topic.ts';
import { type Budget, TopicFetcher } from './topic-fetcher.ts';

/** A topic that threw is tried again after this long; other topics go on meanwhile. */
const retryBrokenMs = 1_000;

interface Broken {
  readonly error: Error;
  readonly retryAt: number;
}

/** Made by EmbeddedEventLog.consume. */
export class EmbeddedConsumer implements Consumer, GroupMember {
  readonly topics: readonly Topic[];
  readonly #group: ConsumerGroup;
  readonly #onClose: (consumer: EmbeddedConsumer) => Promise<void>;
  #assigned: { generation: number; partitions: readonly TopicPartition[] } = {
    generation: 0,
    partitions: [],
  };
  /** Next offset per topic and partition; replaced on every new assignment. */
  #positions = new Map<string, number[]>();
  #fetchers: TopicFetcher[] = [];
  #mustRelocate = true;
  readonly #broken = new Map<string, Broken>();
  #toThrow: Error | null = null;
  #fencedBy: Error | null = null;
  #closed = false;
  #turn = 0;
  #wake: (() => void) | null = null;

  constructor(
    group: ConsumerGroup,
    topics: readonly Topic[],
    onClose: (consumer: EmbeddedConsumer) => Promise<void>,
  ) {
    this.#group = group;
    this.topics = topics;
    this.#onClose = onClose;
  }

  assign(partitions: readonly TopicPartition[]): void {
    const { generation, partitions: before } = this.#assigned;
    const key = (list: readonly TopicPartition[]): string =>
      list.map((p) => `${p.topic}/${p.partition}`).join(' ');
    if (generation > 0 && key(before) === key(partitions)) return;
    this.#assigned = { generation: generation + 1, partitions };
    this.#positions = new Map(
      this.topics.map((topic) => [
        topic.info.topic,
        Array.from({ length: topic.info.partitions }, (_, i) => this.#group.committed(topic.info.topic, i)),
      ]),
    );
    this.#mustRelocate = true;
    this.#wake?.();
  }

  fence(error: Error): void {
    this.#fencedBy = error;
    this.#wake?.();
  }

  assignment(): { readonly generation: number; readonly partitions: readonly TopicPartition[] } {
    return this.#assigned;
  }

  seek(target: PartitionOffset): void {
    const { topic, partition, offset } = target;
    if (!this.#owns(topic, partition)) throw this.#notOwned(topic, partition);
    if (!Number.isSafeInteger(offset) || offset < 0)
      throw new RangeError(`offset ${offset} is not a whole number >= 0`);
    (this.#positions.get(topic) as number[])[partition] = offset;
    this.#mustRelocate = true;
  }

  async poll(options: PollOptions): Promise<readonly PartitionBatch[]> {
    const deadline = performance.now() + options.waitMs;
    for (;;) {
      if (this.#closed) throw logError('PULSE_LOG_CLOSED', 'This consumer is closed.');
      if (this.#fencedBy !== null) throw this.#fencedBy;
      await this.#group.checkFence();
      if (options.signal?.aborted === true) return [];
      this.#throwKept();
      const { generation } = this.#assigned;
      const seen = this.topics.map((topic) => topic.published().sequence);
      const batches = await this.#gather(options);
      // Given to another member while they were read: the new owner reads them from the committed offset on.
      if (generation !== this.#assigned.generation) continue;
      if (batches.length > 0) return batches;
      this.#throwKept();
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0) {
        const [broken] = this.#broken.values();
        if (broken !== undefined) throw broken.error;
        return [];
      }
      await this.#waitForNews(remainingMs, seen, options.signal);
    }
  }

  #throwKept(): void {
    const error = this.#toThrow;
    this.#toThrow = null;
    if (error !== null) throw error;
  }

  async #gather(options: PollOptions): Promise<readonly PartitionBatch[]> {
    if (this.#mustRelocate) await this.#relocate();
    const budget: Budget = { records: options.recordsMax, bytes: options.bytesMax };
    const batches: PartitionBatch[] = [];
    this.#turn++;
    for (let i = 0; i < this.#fetchers.length; i++) {
      const fetcher = this.#fetchers[(this.#turn + i) % this.#fetchers.length] as TopicFetcher;
      if (budget.records <= 0 || (budget.bytes <= 0 && batches.length > 0)) break;
      const name = fetcher.topic.info.topic;
      if ((this.#broken.get(name)?.retryAt ?? 0) > performance.now()) continue;
      try {
        batches.push(...(await fetcher.fetch(budget)));
        this.#broken.delete(name);
        const [lost] = fetcher.lost.values();
        if (lost !== undefined) this.#keepError(name, lost, false);
      } catch (error) {
        this.#keepError(name, error as Error, true);
      }
    }
    return batches;
  }

  /** An error is thrown by a poll that has nothing to hand out, or by the next one, so that no record is lost to it. */
  #keepError(topic: string, error: Error, stopsTopic: boolean): void {
    const known = this.#broken.get(topic);
    const now = performance.now();
    if (known === undefined || now >= known.retryAt) this.#toThrow = error;
    this.#broken.set(topic, { error, retryAt: stopsTopic ? now + retryBrokenMs : 0 });
  }

  async #relocate(): Promise<void> {
    this.#mustRelocate = false;
    this.#broken.clear();
    const old = this.#fetchers;
    this.#fetchers = [];
    for (const fetcher of old) await fetcher.close();
    for (const topic of this.topics) {
      const name = topic.info.topic;
      const owned = this.#assigned.partitions.filter((p) => p.topic === name).map((p) => p.partition);
      if (owned.length === 0) continue;
      this.#fetchers.push(new TopicFetcher(topic, owned, this.#positions.get(name) as number[]));
    }
  }

  /** Until something became durable in one of the topics, the assignment changed, time is up or the signal came. */
  async #waitForNews(ms: number, seen: readonly number[], signal: AbortSignal | undefined): Promise<void> {
    let wake = (): void => undefined;
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#wake = wake;
    const timer = setTimeout(wake, ms);
    const stops = this.topics.map((topic) => topic.listen(wake));
    signal?.addEventListener('abort', wake, { once: true });
    try {
      const missed = this.topics.some((topic, i) => topic.published().sequence !== seen[i]);
      if (missed || this.#mustRelocate || this.#closed || signal?.aborted === true) return;
      await woken;
    } finally {
      clearTimeout(timer);
      for (const stop of stops) stop();
      signal?.removeEventListener('abort', wake);
      this.#wake = null;
    }
  }

  async commit(offsets: readonly PartitionOffset[]): Promise<void> {
    if (this.#closed) throw logError('PULSE_LOG_CLOSED', 'This consumer is closed.');
    for (const { topic, partition } of offsets)
      if (!this.#owns(topic, partition)) throw this.#notOwned(topic, partition);
    await this.#group.commit(offsets);
  }

  #owns(topic: string, partition: number): boolean {
    return this.#assigned.partitions.some((p) => p.topic === topic && p.partition === partition);
  }

  #notOwned(topic: string, partition: number): Error {
    return logError(
      'PULSE_LOG_FENCED',
      `This member of group ${this.#group.name} does not own ${topic}/${partition}.`,
      {
        details: { group: this.#group.name, topic, partition },
      },
    );
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake?.();
    for (const fetcher of this.#fetchers) await fetcher.close();
    await this.#onClose(this);
  }
}
