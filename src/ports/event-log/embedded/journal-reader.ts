// Finds records of one topic by offset or time, and hands its groups out in order. It shows only what is published.
import { join } from 'node:path';
import { logError, type PartitionOffset } from '../event-log.ts';
import { Cursor, type Place } from './cursor.ts';
import { type FileSystem, isFileError } from './file-system.ts';
import { SegmentIndex } from './segment-index.ts';
import {
  corrupt,
  listSegments,
  type PublishedEnd,
  readSegmentHeader,
  type SegmentHeader,
  segmentName,
  type TopicDescription,
} from './topic-files.ts';

/** Indexes of this many segments are kept in memory, about 70 KiB each. */
const indexesMax = 256;

/** Reads one topic. Shared by all consumers of an EventLog. */
export class JournalReader {
  readonly fileSystem: FileSystem;
  readonly topic: TopicDescription;
  /** What is durable now; looked up anew on every call. */
  readonly published: () => PublishedEnd;
  #segments: readonly SegmentHeader[] = [];
  #refreshing: Promise<readonly SegmentHeader[]> | null = null;
  readonly #indexes = new Map<number, SegmentIndex>();

  constructor(fileSystem: FileSystem, topic: TopicDescription, published: () => PublishedEnd) {
    this.fileSystem = fileSystem;
    this.topic = topic;
    this.published = published;
  }

  /** Headers of the segments that can be read, oldest first. */
  async segments(): Promise<readonly SegmentHeader[]> {
    const end = this.published();
    if (end.sequence === 0) return [];
    const known = this.#segments;
    if (known.at(-1)?.base === end.segmentBase && known[0]?.base === end.earliestBase) return known;
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = null;
    });
    return await this.#refreshing;
  }

  async #refresh(): Promise<readonly SegmentHeader[]> {
    const known = new Map(this.#segments.map((segment) => [segment.base, segment]));
    for (;;) {
      const end = this.published();
      const found: SegmentHeader[] = [];
      try {
        for (const base of await listSegments(this.fileSystem, this.topic.directory)) {
          // Younger ones are being begun, older ones are being removed.
          if (base > end.segmentBase || base < end.earliestBase) continue;
          const header = known.get(base) ?? (await readSegmentHeader(this.fileSystem, this.topic, base));
          this.#checkChain(found.at(-1), header);
          found.push(header);
        }
      } catch (error) {
        // Retention removed a file between the listing and the reading: list again.
        if (isFileError(error, 'ENOENT') && this.published().earliestBase > end.earliestBase) continue;
        throw error;
      }
      if (found.at(-1)?.base !== end.segmentBase) {
        throw corrupt(join(this.topic.directory, segmentName(end.segmentBase)), 0, 'the file is missing');
      }
      for (const base of this.#indexes.keys()) if (base < end.earliestBase) this.#indexes.delete(base);
      this.#segments = found;
      return found;
    }
  }

  #checkChain(previous: SegmentHeader | undefined, header: SegmentHeader): void {
    if (previous === undefined || header.previousBase === previous.base) return;
    throw corrupt(join(this.topic.directory, segmentName(header.previousBase)), 0, 'the file is missing');
  }

  /** First readable offset of every partition. */
  async earliest(): Promise<readonly number[]> {
    const first = (await this.segments())[0];
    return first?.startOffsets ?? new Array<number>(this.topic.partitions).fill(0);
  }

  /**
   * Where to begin reading so that the record at `offset` is met, and at most about 64 KiB before it.
   * Errors: PULSE_LOG_OFFSET_LOST below the earliest offset, PULSE_LOG_CORRUPT.
   */
  async locate(partition: number, offset: number): Promise<Place> {
    const segments = await this.segments();
    const end = this.published();
    if (offset >= (end.ends[partition] as number)) return endPlace(end);
    const segment = segments.findLast((candidate) => (candidate.startOffsets[partition] as number) <= offset);
    if (segment === undefined) throw this.#lost(partition, offset, segments[0]);
    const index = await this.#indexOf(segment);
    return index.placeOf(partition, offset);
  }

  #lost(partition: number, offset: number, first: SegmentHeader | undefined): Error {
    const earliest = first?.startOffsets[partition] ?? 0;
    const detail = `Offset ${offset} of ${this.topic.topic}/${partition} was removed by retention; the earliest is ${earliest}.`;
    return logError('PULSE_LOG_OFFSET_LOST', detail, {
      details: { topic: this.topic.topic, partition, offset, earliest },
    });
  }

  async #indexOf(segment: SegmentHeader): Promise<SegmentIndex> {
    let index = this.#indexes.get(segment.base);
    if (index === undefined) {
      index = new SegmentIndex(this, segment);
      this.#indexes.set(segment.base, index);
      if (this.#indexes.size > indexesMax) {
        const [oldest] = this.#indexes.keys();
        this.#indexes.delete(oldest as number);
      }
    }
    await index.extend();
    return index;
  }

  /** As EventLog.offsetsAt. Append times never decrease along the journal, so one place answers for all partitions. */
  async offsetsAt(timeMs: number): Promise<readonly PartitionOffset[]> {
    const segments = await this.segments();
    const segment = segments.findLast((candidate) => candidate.firstTimeMs < timeMs);
    let offsets: readonly number[];
    if (segment === undefined) offsets = await this.earliest();
    else offsets = await this.#offsetsInside(segment, timeMs);
    return offsets.map((offset, partition) => ({ topic: this.topic.topic, partition, offset }));
  }

  async #offsetsInside(segment: SegmentHeader, timeMs: number): Promise<readonly number[]> {
    const index = await this.#indexOf(segment);
    const { place, offsets } = index.rowBefore(timeMs);
    const running = [...offsets];
    const cursor = new Cursor(this, place);
    try {
      for (;;) {
        const group = await cursor.next();
        if (group === null || group.appendTimeMs >= timeMs) return running;
        for (const share of group.shares) running[share.partition] = share.firstOffset + share.records;
      }
    } finally {
      await cursor.close();
    }
  }
}

function endPlace(end: PublishedEnd): Place {
  return { segmentBase: end.segmentBase, position: end.position, sequence: end.sequence + 1 };
}
