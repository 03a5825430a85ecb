// The embedded EventLog: topics as journals of segment files in one directory, for one machine (SPEC.md).
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type Clock, systemClock } from '../../../core/clock.ts';
import { readSettings } from '../../../core/settings.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { type EventLogSettings, eventLogSettings } from '../config.ts';
import {
  type ConsumeOptions,
  type Consumer,
  type EventLog,
  type EventLogCapabilities,
  type LogRecord,
  logError,
  type PartitionBounds,
  type PartitionLag,
  type PartitionOffset,
  type ReadOptions,
  type StoredRecord,
  type TopicInfo,
  type TopicOptions,
} from '../event-log.ts';
import { ConsumerGroup } from './consumer-group.ts';
import { EmbeddedConsumer } from './embedded-consumer.ts';
import { type FileSystem, isFileError, nodeFileSystem } from './file-system.ts';
import { dropGroupFiles, groupNamePattern, readGroupOffsets } from './group-files.ts';
import { removeExpiredSegments } from './retention.ts';
import { Topic, type TopicContext } from './topic.ts';
import { TopicFetcher } from './topic-fetcher.ts';
import {
  encodeHead,
  groupsDirectory,
  headBytes,
  headName,
  readTopic,
  topicJson,
  topicNamePattern,
  topicsDirectory,
  writeWhole,
} from './topic-files.ts';

/** How to open an embedded log. */
export interface EmbeddedEventLogOptions {
  /** Directory of the log alone; made when missing. */
  readonly directory: string;
  /** Defaults for what is left out. */
  readonly settings?: Partial<EventLogSettings>;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** For tests; the machine's own by default. */
  readonly fileSystem?: FileSystem;
}

const partitionsMax = 256;

/**
 * Opens the embedded log. Nothing is locked yet: the first append to a topic, or `openForWriting`, takes the topic's lock.
 * Errors: those of the file system when the directory cannot be made.
 */
export async function createEmbeddedEventLog(options: EmbeddedEventLogOptions): Promise<EmbeddedEventLog> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const { directory } = options;
  await fileSystem.createDirectory(topicsDirectory(directory));
  await fileSystem.createDirectory(groupsDirectory(directory));
  await fileSystem.syncDirectory(directory);
  await fileSystem.syncDirectory(dirname(directory));
  return new EmbeddedEventLog(directory, {
    fileSystem,
    settings: { ...readSettings(eventLogSettings, {}), ...options.settings },
    clock: options.clock ?? systemClock,
    logger: options.logger,
  });
}

/** Made by `createEmbeddedEventLog`. */
export class EmbeddedEventLog implements EventLog {
  readonly capabilities: EventLogCapabilities = {
    groupsAcrossProcesses: false,
    writersAcrossProcesses: false,
  };
  readonly #directory: string;
  readonly #context: TopicContext;
  readonly #topics = new Map<string, Promise<Topic>>();
  readonly #groups = new Map<string, Promise<ConsumerGroup>>();
  readonly #consumers = new Set<EmbeddedConsumer>();
  /** Retention as this process asked for it; what topic.json says otherwise. */
  readonly #retention = new Map<string, TopicOptions>();
  readonly #retentionTimer: NodeJS.Timeout;
  #removing: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | null = null;

  constructor(directory: string, context: TopicContext) {
    this.#directory = directory;
    this.#context = context;
    this.#retentionTimer = setInterval(() => {
      this.#removing = this.#removing
        .then(() => this.removeExpired())
        .catch((error: unknown) => {
          context.logger.error({ err: error }, 'retention could not remove segments');
        });
    }, context.settings.PULSE_LOG_RETENTION_CHECK_MS);
    this.#retentionTimer.unref();
  }

  async createTopic(topic: string, options: TopicOptions): Promise<TopicInfo> {
    this.#ensureOpen();
    if (!topicNamePattern.test(topic))
      throw new RangeError(`topic name '${topic}' is not ${topicNamePattern.source}`);
    const { partitions } = options;
    if (!(Number.isInteger(partitions) && partitions >= 1 && partitions <= partitionsMax)) {
      throw new RangeError(
        `topic ${topic} is to have ${partitions} partitions; 1 to ${partitionsMax} are allowed`,
      );
    }
    const existing = await this.describeTopic(topic);
    if (existing === null) await this.#makeTopic(topic, options);
    // Also for an existing topic: whoever made it may have been killed before its name was durable.
    await this.#context.fileSystem.syncDirectory(topicsDirectory(this.#directory));
    this.#retention.set(topic, options);
    const made = await this.describeTopic(topic);
    if (made === null)
      throw logError('PULSE_LOG_TOPIC_UNKNOWN', `Topic ${topic} vanished after it was made.`);
    return made;
  }

  /** A topic appears complete or not at all: it is made aside and renamed, and the loser of a race uses the winner's. */
  async #makeTopic(topic: string, options: TopicOptions): Promise<void> {
    const { fileSystem } = this.#context;
    const topics = topicsDirectory(this.#directory);
    const made = join(topics, `.new.${randomUUID()}`);
    await fileSystem.createDirectory(made);
    try {
      await writeWhole(fileSystem, join(made, 'topic.json'), topicJson(topic, randomUUID(), options), true);
      const head = Buffer.alloc(headBytes(options.partitions));
      const ends = new Array<number>(options.partitions).fill(0);
      const bootId = fileSystem.bootId();
      encodeHead(head, { sequence: 0, segmentBase: 0, position: 0, earliestBase: 0, ends, bootId });
      await writeWhole(fileSystem, join(made, headName), head, true);
      await fileSystem.syncDirectory(made);
      await fileSystem.rename(made, join(topics, topic));
    } catch (error) {
      await fileSystem.removeDirectory(made);
      if (!isFileError(error, 'EEXIST', 'ENOTEMPTY', 'EPERM')) throw error;
    }
  }

  async describeTopic(topic: string): Promise<TopicInfo | null> {
    this.#ensureOpen();
    if (!topicNamePattern.test(topic)) return null;
    const found = await readTopic(this.#context.fileSystem, this.#directory, topic);
    if (found === null) return null;
    return { topic: found.topic, partitions: found.partitions, incarnation: found.incarnation };
  }

  append(topic: string, records: readonly LogRecord[]): Promise<readonly number[]> {
    if (this.#closing !== null) return Promise.reject(this.#closedError());
    const open = this.#open.get(topic);
    if (open !== undefined) return open.append(records);
    return this.#topic(topic).then((found) => found.append(records));
  }

  /** Takes the topic's lock and recovers it now, rather than at the first append. Errors: as append. */
  async openForWriting(topic: string): Promise<void> {
    await (await this.#topic(topic)).openWriter();
  }

  /** Topics that are open, for the hot path of append. */
  readonly #open = new Map<string, Topic>();

  async #topic(topic: string): Promise<Topic> {
    this.#ensureOpen();
    let opening = this.#topics.get(topic);
    if (opening === undefined) {
      opening = this.#openTopic(topic);
      this.#topics.set(topic, opening);
      opening.catch(() => this.#topics.delete(topic));
    }
    return await opening;
  }

  async #openTopic(topic: string): Promise<Topic> {
    const info = topicNamePattern.test(topic)
      ? await readTopic(this.#context.fileSystem, this.#directory, topic)
      : null;
    if (info === null)
      throw logError('PULSE_LOG_TOPIC_UNKNOWN', `There is no topic ${topic}.`, { details: { topic } });
    const opened = await Topic.open(this.#context, info);
    this.#open.set(topic, opened);
    return opened;
  }

  async bounds(topic: string): Promise<readonly PartitionBounds[]> {
    const { reader } = await this.#topic(topic);
    const earliest = await reader.earliest();
    return reader
      .published()
      .ends.map((end, partition) => ({ partition, earliest: earliest[partition] as number, end }));
  }

  async offsetsAt(topic: string, timeMs: number): Promise<readonly PartitionOffset[]> {
    return await (await this.#topic(topic)).reader.offsetsAt(timeMs);
  }

  async read(
    topic: string,
    partition: number,
    offset: number,
    options: ReadOptions,
  ): Promise<readonly StoredRecord[]> {
    const found = await this.#topic(topic);
    if (!(partition >= 0 && partition < found.info.partitions)) {
      throw new RangeError(
        `topic ${topic} has partitions 0 to ${found.info.partitions - 1}, not ${partition}`,
      );
    }
    const positions: number[] = [];
    positions[partition] = offset;
    const fetcher = new TopicFetcher(found, [partition], positions);
    try {
      const batches = await fetcher.fetch({ records: options.recordsMax, bytes: options.bytesMax });
      const lost = fetcher.lost.get(partition);
      if (lost !== undefined) throw lost;
      return batches[0]?.records ?? [];
    } finally {
      await fetcher.close();
    }
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    if (!groupNamePattern.test(options.group)) {
      throw new RangeError(`group name '${options.group}' is not ${groupNamePattern.source}`);
    }
    const topics: Topic[] = [];
    for (const topic of options.topics) topics.push(await this.#topic(topic));
    const group = await this.#group(options.group);
    try {
      await group.register(topics, options.from);
      this.#ensureOpen();
    } catch (error) {
      await this.#letGo(group);
      throw error;
    }
    const consumer = new EmbeddedConsumer(group, topics, async (closed) => {
      this.#consumers.delete(closed);
      group.remove(closed);
      await this.#letGo(group);
    });
    this.#consumers.add(consumer);
    group.add(consumer);
    return consumer;
  }

  /** The group as this EventLog holds it; claimed anew when another one took it over. */
  async #group(name: string): Promise<ConsumerGroup> {
    const held = this.#groups.get(name);
    if (held !== undefined && !(await held).isFenced) return await held;
    if (held !== this.#groups.get(name)) return await this.#group(name);
    const claimed = ConsumerGroup.claim(this.#context, this.#directory, name);
    this.#groups.set(name, claimed);
    claimed.catch(() => this.#groups.delete(name));
    return await claimed;
  }

  /** Closes a group that has no members left. */
  async #letGo(group: ConsumerGroup): Promise<void> {
    if (!group.isEmpty) return;
    const held = this.#groups.get(group.name);
    if (held !== undefined && (await held) === group) this.#groups.delete(group.name);
    await group.close();
  }

  async lag(group: string, topic: string): Promise<readonly PartitionLag[]> {
    const found = await this.#topic(topic);
    const offsets = await readGroupOffsets(this.#context.fileSystem, this.#directory, group);
    const known = offsets?.topics.get(topic);
    const committedOffsets = known?.incarnation === found.info.incarnation ? known.offsets : [];
    const nowMs = this.#context.clock.now();
    const result: PartitionLag[] = [];
    for (const { partition, earliest, end } of await this.bounds(topic)) {
      const committed = committedOffsets[partition] ?? earliest;
      const lagRecords = Math.max(0, end - Math.max(committed, earliest));
      const lagMs =
        lagRecords === 0 ? 0 : await this.#ageOf(topic, partition, Math.max(committed, earliest), nowMs);
      result.push({ topic, partition, committed, end, lagRecords, lagMs });
    }
    return result;
  }

  async #ageOf(topic: string, partition: number, offset: number, nowMs: number): Promise<number> {
    const [record] = await this.read(topic, partition, offset, { recordsMax: 1, bytesMax: 1 });
    return record === undefined ? 0 : Math.max(0, nowMs - record.appendTimeMs);
  }

  /** Removes what retention allows in every topic that this EventLog writes; runs by itself. Returns segments removed. */
  async removeExpired(): Promise<number> {
    let removed = 0;
    for (const topic of this.#open.values()) {
      if (topic.files === null) continue;
      const retention = this.#retention.get(topic.info.topic) ?? topic.info;
      removed += await removeExpiredSegments(this.#context, this.#directory, topic, retention);
    }
    return removed;
  }

  /** Forgets a group, so that retention no longer waits for it. Running members are fenced. False when it is unknown. */
  async dropGroup(group: string): Promise<boolean> {
    this.#ensureOpen();
    return await dropGroupFiles(this.#context.fileSystem, this.#directory, group);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#retentionTimer);
    await this.#removing;
    for (const consumer of [...this.#consumers]) await consumer.close();
    const topics = await Promise.allSettled(this.#topics.values());
    const closed = await Promise.allSettled(
      topics.map((topic) => (topic.status === 'fulfilled' ? topic.value.close() : null)),
    );
    const failed = closed.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  #ensureOpen(): void {
    if (this.#closing !== null) throw this.#closedError();
  }

  #closedError(): Error {
    return logError('PULSE_LOG_CLOSED', 'The event log is closed.');
  }
}
