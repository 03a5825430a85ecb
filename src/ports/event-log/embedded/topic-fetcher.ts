// Reads the partitions that one consumer owns of one topic, in one pass over the journal they share.
import { logError, type PartitionBatch, type StoredRecord } from '../event-log.ts';
import { Cursor, type Place } from './cursor.ts';
import type { GroupView } from './group-codec.ts';
import { logCounts } from './metrics.ts';
import { decodeRecord, recordBytesAt, recordOffsetDeltaAt, recordPartitionAt } from './record-codec.ts';
import type { Topic } from './topic.ts';

/** How much a fetch may still hand out. Shared by the topics of one poll. */
export interface Budget {
  records: number;
  bytes: number;
}

/** Not safe for concurrent calls. Thrown away when positions are set anew. */
export class TopicFetcher {
  readonly topic: Topic;
  /** Next offset wanted, by partition; moved on as records are handed out. */
  readonly #positions: number[];
  readonly #owned: readonly boolean[];
  /** Partitions whose next record was removed. */
  readonly lost = new Map<number, Error>();
  #cursor: Cursor | null = null;
  #group: GroupView | null = null;
  #at = 0;
  #firstOffsets: number[] = [];

  constructor(topic: Topic, partitions: readonly number[], positions: number[]) {
    this.topic = topic;
    this.#positions = positions;
    this.#owned = Array.from({ length: topic.info.partitions }, (_, i) => partitions.includes(i));
  }

  /** Records in journal order, at most what the budget allows; the first record of an untouched budget always. */
  async fetch(budget: Budget): Promise<readonly PartitionBatch[]> {
    const found = new Map<number, StoredRecord[]>();
    let taken = 0;
    try {
      this.#cursor ??= await this.#start();
      while (budget.records > 0 && (budget.bytes > 0 || taken === 0)) {
        if (this.#group === null && !(await this.#nextGroup(this.#cursor))) break;
        taken += this.#takeFromGroup(found, budget, taken);
      }
    } catch (error) {
      // What was taken before the broken place is good; the next fetch meets the error again.
      if (taken === 0) throw error;
    }
    logCounts.readRecords += taken;
    return [...found].map(([partition, records]) => ({
      topic: this.topic.info.topic,
      partition,
      records,
      nextOffset: (records.at(-1) as StoredRecord).offset + 1,
    }));
  }

  async #start(): Promise<Cursor> {
    let earliest: Place | null = null;
    for (const [partition, owned] of this.#owned.entries()) {
      if (!owned) continue;
      try {
        const place = await this.topic.reader.locate(partition, this.#positions[partition] as number);
        if (earliest === null || place.sequence < earliest.sequence) earliest = place;
      } catch (error) {
        if ((error as { code?: string }).code !== 'PULSE_LOG_OFFSET_LOST') throw error;
        this.lost.set(partition, error as Error);
      }
    }
    const end = this.topic.published();
    return new Cursor(
      this.topic.reader,
      earliest ?? { segmentBase: end.segmentBase, position: end.position, sequence: end.sequence + 1 },
    );
  }

  /** False at the end of what is published. Groups without wanted records are passed over undecoded. */
  async #nextGroup(cursor: Cursor): Promise<boolean> {
    for (;;) {
      const group = await cursor.next();
      if (group === null) return false;
      const wanted = group.shares.some(
        ({ partition, firstOffset, records }) =>
          this.#owned[partition] === true && firstOffset + records > (this.#positions[partition] as number),
      );
      if (!wanted) continue;
      this.#group = group;
      this.#at = group.recordsStart;
      this.#firstOffsets = [];
      for (const share of group.shares) this.#firstOffsets[share.partition] = share.firstOffset;
      return true;
    }
  }

  #takeFromGroup(found: Map<number, StoredRecord[]>, budget: Budget, takenBefore: number): number {
    const group = this.#group as GroupView;
    const { bytes, recordsEnd, appendTimeMs } = group;
    let taken = 0;
    while (this.#at < recordsEnd && budget.records > 0 && (budget.bytes > 0 || takenBefore + taken === 0)) {
      const at = this.#at;
      const size = recordBytesAt(bytes, at);
      this.#at = at + size;
      const partition = recordPartitionAt(bytes, at);
      if (this.#owned[partition] !== true || this.lost.has(partition)) continue;
      const offset = (this.#firstOffsets[partition] as number) + recordOffsetDeltaAt(bytes, at);
      const wanted = this.#positions[partition] as number;
      if (offset < wanted) continue;
      if (offset > wanted) {
        this.#at = at;
        throw this.#gap(partition, wanted, offset);
      }
      let records = found.get(partition);
      if (records === undefined) {
        records = [];
        found.set(partition, records);
      }
      records.push(decodeRecord(bytes, at, offset, appendTimeMs));
      this.#positions[partition] = offset + 1;
      budget.records--;
      budget.bytes -= size;
      taken++;
    }
    if (this.#at >= recordsEnd) this.#group = null;
    return taken;
  }

  #gap(partition: number, wanted: number, found: number): Error {
    const detail = `${this.topic.info.directory}: partition ${partition} has offset ${found} where ${wanted} belongs.`;
    return logError('PULSE_LOG_CORRUPT', detail, { details: { topic: this.topic.info.topic, partition } });
  }

  async close(): Promise<void> {
    await this.#cursor?.close();
  }
}
