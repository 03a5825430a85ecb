// The EventLog port: an ordered, partitioned, durable log with consumer groups, in Kafka's words.
// Adapters live in folders beside this file and are proven by contract.ts. Nothing here knows an engine.
import { defineErrors } from '../../core/errors.ts';

/** A record to append. */
export interface LogRecord {
  /** Partition of the topic; 0 <= partition < partitions. Use `partitionFor` to derive it from a key. */
  readonly partition: number;
  /** Records with one key share a partition by convention; kept for outside readers. */
  readonly key: string | null;
  /** Small text metadata; at most 64 headers and 64 KiB in all. Names are [a-z0-9_]+. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * Further headers of the record, under names that `headers` has not. Records of one call that hold the very same object
   * are encoded faster; read back, all headers stand in `headers`.
   */
  readonly sharedHeaders?: Readonly<Record<string, string>>;
  /** The bytes, kept exactly; at most 2 MiB. */
  readonly value: Uint8Array;
}

/** A record as read back. `value` may be a view into a larger buffer: copy it to keep it beyond the batch. */
export interface StoredRecord extends LogRecord {
  readonly value: Buffer;
  readonly offset: number;
  /** When the log took it, milliseconds since the epoch. */
  readonly appendTimeMs: number;
}

export interface TopicInfo {
  readonly topic: string;
  readonly partitions: number;
  /** Changes when the topic is deleted and made again; never repeats. */
  readonly incarnation: string;
}

export interface PartitionBounds {
  readonly partition: number;
  /** First offset still readable. */
  readonly earliest: number;
  /** Offset that the next record will get; every offset below it is durable. */
  readonly end: number;
}

export interface TopicOptions {
  readonly partitions: number;
  /** Records older than this (by append time) may be removed once every group has read them; 0 keeps them for ever. */
  readonly retentionMs: number;
  /** Oldest records may be removed beyond this size once every group has read them; 0 means no limit. */
  readonly retentionBytes: number;
}

export interface ReadOptions {
  readonly recordsMax: number;
  /** Soft limit: at least one record is returned even when it alone is larger. */
  readonly bytesMax: number;
}

export interface PollOptions extends ReadOptions {
  /** How long to wait for the first record; 0 returns at once. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
}

/** Records of one partition, in offset order, at least one. */
export interface PartitionBatch {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly StoredRecord[];
  /** Offset to commit once the batch is done: the last record's offset + 1. */
  readonly nextOffset: number;
}

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface PartitionOffset extends TopicPartition {
  readonly offset: number;
}

/**
 * A member of a consumer group. Members of one group share the partitions; each partition has one owner at a time.
 * Not safe for concurrent polls: one loop owns one consumer.
 */
export interface Consumer {
  /**
   * Waits for records of the owned partitions, at most `recordsMax` over all of them together.
   * Guarantees: order per partition; every record from the committed (or sought) offset on, none skipped.
   * Errors: PULSE_LOG_FENCED when another owner took the group over; PULSE_LOG_CORRUPT names the broken place of one
   * partition and keeps being thrown for it, while other partitions go on; PULSE_LOG_OFFSET_LOST when the next record was
   * removed by retention.
   */
  poll(options: PollOptions): Promise<readonly PartitionBatch[]>;
  /** Partitions owned now. `generation` changes whenever the set changes; positions must then be looked up again. */
  assignment(): { readonly generation: number; readonly partitions: readonly TopicPartition[] };
  /** The next poll continues at this offset. Only for owned partitions. */
  seek(target: PartitionOffset): void;
  /**
   * Remembers how far the group has come. Survives a crash.
   * Errors: PULSE_LOG_FENCED when this member no longer owns the partition; nothing is committed then.
   */
  commit(offsets: readonly PartitionOffset[]): Promise<void>;
  /** Leaves the group. Safe to call twice. */
  close(): Promise<void>;
}

export interface ConsumeOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** Where a group without a committed offset starts. */
  readonly from: 'earliest' | 'end';
}

export interface PartitionLag extends TopicPartition {
  /** Committed offset of the group; the earliest offset when it never committed. */
  readonly committed: number;
  readonly end: number;
  /** Records not yet committed. */
  readonly lagRecords: number;
  /** Age of the oldest uncommitted record in ms; 0 when there is none. */
  readonly lagMs: number;
}

/** What an engine can do beyond the port's promise. Differences are declared here and tested, never silently ignored. */
export interface EventLogCapabilities {
  /** Whether members of one group may live in different processes. */
  readonly groupsAcrossProcesses: boolean;
  /** Whether several processes may append to one topic. */
  readonly writersAcrossProcesses: boolean;
}

export interface EventLog {
  readonly capabilities: EventLogCapabilities;
  /** Makes the topic when it is missing; an existing topic keeps its partitions. Safe to call concurrently. */
  createTopic(topic: string, options: TopicOptions): Promise<TopicInfo>;
  /** Null when there is no such topic. */
  describeTopic(topic: string): Promise<TopicInfo | null>;
  /**
   * Appends all records or none that are acknowledged.
   * Shape: n records in, n offsets out, same order; each offset is relative to its record's partition.
   * Guarantees: resolves only when every record is durable; records of one call and partition are contiguous and in order;
   * calls resolve in the order they were made per partition. After a rejection the records may or may not be stored.
   * Errors: PULSE_LOG_OVERLOADED (retryable, nothing was stored), PULSE_LOG_DISK_FULL (retryable), PULSE_LOG_FAILED,
   * PULSE_LOG_TOPIC_UNKNOWN, PULSE_LOG_RECORD_INVALID (nothing was stored), PULSE_LOG_IN_USE, PULSE_LOG_CLOSED.
   */
  append(topic: string, records: readonly LogRecord[]): Promise<readonly number[]>;
  /** Earliest and end offset of every partition, by partition number. */
  bounds(topic: string): Promise<readonly PartitionBounds[]>;
  /** The first offset of each partition whose append time is at or after `timeMs`; its end when there is none. */
  offsetsAt(topic: string, timeMs: number): Promise<readonly PartitionOffset[]>;
  /**
   * Reads from one partition without a group, from `offset` on; empty at the end. Never waits.
   * Errors: PULSE_LOG_OFFSET_LOST when the offset is below the earliest, PULSE_LOG_CORRUPT.
   */
  read(
    topic: string,
    partition: number,
    offset: number,
    options: ReadOptions,
  ): Promise<readonly StoredRecord[]>;
  /** Joins a group. Topics must exist. */
  consume(options: ConsumeOptions): Promise<Consumer>;
  /** How far a group is behind, for every partition of the topic. */
  lag(group: string, topic: string): Promise<readonly PartitionLag[]>;
  /** Waits for appends under way, then lets go of every file and lock. Safe to call twice. */
  close(): Promise<void>;
}

/** Errors of every EventLog adapter. */
export const logError = defineErrors({
  PULSE_LOG_OVERLOADED: {
    status: 503,
    title: 'The event log has more unwritten bytes than it may hold.',
    retryable: true,
    next: 'Send again after Retry-After; nothing of this request was stored.',
  },
  PULSE_LOG_DISK_FULL: {
    status: 503,
    title: 'The event log has no disk space left.',
    retryable: true,
    next: 'Free space on the data directory; Pulse accepts again by itself.',
  },
  PULSE_LOG_FAILED: {
    status: 503,
    title: 'The event log could not make the records durable.',
    retryable: true,
    next: 'Look for a disk error in the log lines around this one; the topic is opened again by itself.',
  },
  PULSE_LOG_CORRUPT: {
    status: 500,
    title: 'A stored part of the event log is damaged.',
    retryable: false,
    next: 'Run `npm run pulse -- log verify`, then restore the named segment from a backup; nothing is skipped by itself.',
  },
  PULSE_LOG_TOPIC_UNKNOWN: {
    status: 500,
    title: 'The topic does not exist.',
    retryable: false,
    next: 'Create the topic first, or check the topic names in the settings.',
  },
  PULSE_LOG_RECORD_INVALID: {
    status: 500,
    title: 'A record breaks the limits of the event log.',
    retryable: false,
    next: 'Send smaller values or fewer headers; the limits are in src/ports/event-log/event-log.ts.',
  },
  PULSE_LOG_OFFSET_LOST: {
    status: 500,
    title: 'Records were removed by retention before they were read.',
    retryable: false,
    next: 'Restore the topic from a backup, or accept the loss with `npm run pulse -- log consumers`; it shows in the reconciliation.',
  },
  PULSE_LOG_FENCED: {
    status: 409,
    title: 'Another consumer took the partition over.',
    retryable: false,
    next: 'Stop this consumer; the newer one goes on from the committed offset.',
  },
  PULSE_LOG_IN_USE: {
    status: 409,
    title: 'Another process writes to this topic.',
    retryable: false,
    next: 'Stop the other process, or give this one another PULSE_DATA_DIR.',
  },
  PULSE_LOG_CLOSED: {
    status: 503,
    title: 'The event log is closed.',
    retryable: true,
    next: 'Wait until Pulse has started again.',
  },
  PULSE_LOG_FORMAT_UNKNOWN: {
    status: 500,
    title: 'The event log was written by another version of Pulse.',
    retryable: false,
    next: 'Start the version that wrote it, or choose another PULSE_DATA_DIR.',
  },
});

/**
 * The partition of a key: FNV-1a 32 over its UTF-16 units, modulo the number of partitions.
 * Guarantees: stable for ever; an embedded log that is moved to Kafka keeps its placement.
 */
export function partitionFor(key: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    hash ^= key.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0) % partitions;
}
