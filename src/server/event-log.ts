// Opens the event log and makes sure that the topics of all tenants exist.
import { join } from 'node:path';
import { hasCode } from '../core/errors.ts';
import { epochOf } from '../database/epochs.ts';
import type { Database } from '../database/types.ts';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import type { EventLog, TopicInfo } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory, TopicNames } from '../tenancy/types.ts';
import type { AllSettings } from './settings.ts';

/** The log that the settings ask for. */
export async function openEventLog(
  settings: AllSettings,
  dataDirectory: string,
  logger: Logger,
): Promise<EmbeddedEventLog> {
  return await createEmbeddedEventLog({ directory: join(dataDirectory, 'log'), settings, logger });
}

/**
 * Takes over the topics that this process writes, and recovers them before anything reads them: after a power loss their end
 * is known only once torn groups are cut. A damaged topic is reported and left: it stops by itself, and the rest goes on.
 * Errors: PULSE_LOG_IN_USE.
 */
export async function recoverTopics(
  log: EmbeddedEventLog,
  directory: Directory,
  kinds: readonly (keyof TopicNames)[],
  logger: Logger,
): Promise<void> {
  for (const { names } of directory.topicSets()) {
    for (const kind of kinds) {
      try {
        await log.openForWriting(names[kind]);
      } catch (error) {
        if (!hasCode(error, 'PULSE_LOG_CORRUPT')) throw error;
        logger.error({ err: error, topic: names[kind] }, 'a topic is damaged and takes no more records');
      }
    }
  }
}

/** A raw topic as collect and the receipts need it. */
export interface RawTopic {
  readonly topic: string;
  readonly partitions: number;
  readonly epoch: number;
}

/** Knows every topic of every tenant, makes missing ones, and remembers what it has learnt. */
export class Topics {
  readonly #log: EventLog;
  readonly #database: Database;
  readonly #directory: Directory;
  readonly #settings: AllSettings;
  readonly #raw = new Map<string, Promise<RawTopic>>();

  constructor(log: EventLog, database: Database, directory: Directory, settings: AllSettings) {
    this.#log = log;
    this.#database = database;
    this.#directory = directory;
    this.#settings = settings;
  }

  /** Makes the topics of every tenant that the directory knows. */
  async createAll(): Promise<void> {
    for (const set of this.#directory.topicSets()) await this.create(set.names, set.tenantId !== null);
  }

  /** Makes one set of topics; existing ones are left as they are. */
  async create(names: TopicNames, dedicated: boolean): Promise<void> {
    const settings = this.#settings;
    const common = {
      retentionMs: settings.PULSE_LOG_RETENTION_MS,
      retentionBytes: settings.PULSE_LOG_RETENTION_BYTES,
    };
    const events = dedicated ? 1 : settings.PULSE_LOG_EVENT_PARTITIONS;
    await this.#log.createTopic(names.raw, { ...common, partitions: events });
    await this.#log.createTopic(names.valid, { ...common, partitions: events });
    await this.#log.createTopic(names.dlq, {
      ...common,
      partitions: dedicated ? 1 : settings.PULSE_LOG_DEAD_LETTER_PARTITIONS,
    });
  }

  /** The raw topic of a tenant. */
  rawTopic(tenantId: string): Promise<RawTopic> {
    const { raw } = this.#directory.topics(tenantId);
    let found = this.#raw.get(raw);
    if (found === undefined) {
      found = this.#lookUp(tenantId, raw);
      this.#raw.set(raw, found);
      // A failed look-up is not remembered: the next request tries again.
      found.catch(() => this.#raw.delete(raw));
    }
    return found;
  }

  async #lookUp(tenantId: string, topic: string): Promise<RawTopic> {
    let info: TopicInfo | null = await this.#log.describeTopic(topic);
    if (info === null) {
      await this.create(
        this.#directory.topics(tenantId),
        topic !== this.#directory.topicSets()[0]?.names.raw,
      );
      info = await this.#log.describeTopic(topic);
    }
    if (info === null) throw new Error(`topic ${topic} vanished after it was made`);
    return { topic, partitions: info.partitions, epoch: await epochOf(this.#database, info) };
  }
}
