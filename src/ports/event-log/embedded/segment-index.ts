// A sparse index of one segment, in memory only: it is built by scanning the segment once, about 50 ms for 64 MiB.
import { hasCode } from '../../../core/errors.ts';
import { Cursor, type Place } from './cursor.ts';
import type { JournalReader } from './journal-reader.ts';
import type { SegmentHeader } from './topic-files.ts';

/** One row for this many bytes of groups. */
const rowEveryBytes = 65_536;

interface Row {
  readonly place: Place;
  /** Append time of the group at the place. */
  readonly timeMs: number;
  /** End offsets of all partitions before that group. */
  readonly offsets: readonly number[];
}

/** Answers which part of a segment holds an offset or a time. Grows with the segment. */
export class SegmentIndex {
  readonly #reader: JournalReader;
  readonly #segment: SegmentHeader;
  readonly #rows: Row[] = [];
  #reached: Place;
  #offsets: number[];
  #complete = false;
  #extending: Promise<void> = Promise.resolve();

  constructor(reader: JournalReader, segment: SegmentHeader) {
    this.#reader = reader;
    this.#segment = segment;
    this.#reached = { segmentBase: segment.base, position: segment.headerBytes, sequence: segment.base };
    this.#offsets = [...segment.startOffsets];
    this.#rows.push({ place: this.#reached, timeMs: segment.firstTimeMs, offsets: segment.startOffsets });
  }

  /**
   * Takes in what was published since, as far as it is whole. One scan at a time.
   * A damaged place is no error here: whoever reads on from the last good row meets it, and everything before is readable.
   */
  async extend(): Promise<void> {
    if (this.#complete) return;
    const mine = this.#extending.then(() => this.#scan());
    this.#extending = mine.catch(() => undefined); // A later call tries again.
    await mine.catch((error: unknown) => {
      if (!hasCode(error, 'PULSE_LOG_CORRUPT')) throw error;
    });
  }

  async #scan(): Promise<void> {
    const cursor = new Cursor(this.#reader, this.#reached);
    try {
      for (;;) {
        const place = cursor.place;
        const group = await cursor.next();
        if (group === null) return;
        // The cursor walked on into the next segment; its groups belong to another index.
        if (cursor.place.segmentBase !== this.#segment.base) {
          this.#complete = true;
          return;
        }
        const last = this.#rows.at(-1) as Row;
        if (place.position - last.place.position >= rowEveryBytes) {
          this.#rows.push({ place, timeMs: group.appendTimeMs, offsets: [...this.#offsets] });
        }
        for (const share of group.shares) this.#offsets[share.partition] = share.firstOffset + share.records;
        this.#reached = cursor.place;
      }
    } finally {
      await cursor.close();
    }
  }

  /** A place at or before the record with this offset. */
  placeOf(partition: number, offset: number): Place {
    return this.#lastRow((row) => (row.offsets[partition] as number) <= offset).place;
  }

  /** The last known row whose group was appended before `timeMs`. */
  rowBefore(timeMs: number): Row {
    return this.#lastRow((row) => row.timeMs < timeMs);
  }

  /** Binary search: `matches` holds for a first stretch of rows, the first row always included. */
  #lastRow(matches: (row: Row) => boolean): Row {
    let low = 0;
    let high = this.#rows.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (matches(this.#rows[middle] as Row)) low = middle;
      else high = middle - 1;
    }
    return this.#rows[low] as Row;
  }
}
