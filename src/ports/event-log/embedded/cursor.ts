// A place in a journal that moves forward group by group, across segment files, up to what is published.
import { join } from 'node:path';
import { logError } from '../event-log.ts';
import { isFileError, type LogFile } from './file-system.ts';
import type { GroupView } from './group-codec.ts';
import type { JournalReader } from './journal-reader.ts';
import { logCounts } from './metrics.ts';
import { SegmentScanner } from './segment-scanner.ts';
import { corrupt, type PublishedEnd, segmentName } from './topic-files.ts';

/** Where a group begins, or will begin. */
export interface Place {
  /** 0 when the journal holds nothing yet. */
  readonly segmentBase: number;
  readonly position: number;
  /** Sequence of the group at this place. */
  readonly sequence: number;
}

/** Reads groups in order. Not safe for concurrent calls. */
export class Cursor {
  readonly #reader: JournalReader;
  #segmentBase: number;
  #position: number;
  #sequence: number;
  #file: LogFile | null = null;
  #end: PublishedEnd | null = null;
  /** Size of the file, and base of the segment after it; known only once the segment is sealed. */
  #sealed: { readonly bytes: number; readonly nextBase: number | undefined } | null = null;
  #scanner: SegmentScanner | null = null;

  constructor(reader: JournalReader, place: Place) {
    this.#reader = reader;
    this.#segmentBase = place.segmentBase;
    this.#position = place.position;
    this.#sequence = place.sequence;
  }

  /** Where the next group begins. */
  get place(): Place {
    return { segmentBase: this.#segmentBase, position: this.#position, sequence: this.#sequence };
  }

  /**
   * The next published group, or null at the end.
   * Guarantees: sequences follow each other without a gap; nothing damaged is handed out or skipped (I10).
   * Errors: PULSE_LOG_CORRUPT, each time again; PULSE_LOG_OFFSET_LOST when retention removed the segment.
   */
  async next(): Promise<GroupView | null> {
    for (;;) {
      const end = this.#endBeyond();
      if (end === null) return null;
      if (this.#segmentBase === 0) await this.#enterNextSegment();
      const scanner = await this.#openScanner();
      const isLast = this.#segmentBase === end.segmentBase;
      if (!isLast && this.#sealed === null) this.#sealed = await this.#sealedEnd();
      // A sealed segment ends where the next one begins, whatever a failed disk may have brought back behind that.
      if (this.#sealed?.nextBase === this.#sequence) {
        await this.#enterNextSegment();
        continue;
      }
      const limit = this.#sealed?.bytes ?? end.position;
      const step = await scanner.next(limit);
      if (step.kind === 'group' && step.group.sequence === this.#sequence) {
        this.#sequence++;
        this.#position = scanner.position;
        return step.group;
      }
      if (step.kind === 'end' && !isLast) await this.#enterNextSegment();
      else
        throw await this.#damaged(step.kind === 'broken' ? step.why : `group ${this.#sequence} is not there`);
    }
  }

  /** What is published, when that includes the next group. Asking anew costs a read, so it is done only when needed. */
  #endBeyond(): PublishedEnd | null {
    if (this.#end === null || this.#sequence > this.#end.sequence) this.#end = this.#reader.published();
    return this.#sequence > this.#end.sequence ? null : this.#end;
  }

  async #openScanner(): Promise<SegmentScanner> {
    if (this.#scanner !== null) return this.#scanner;
    const { fileSystem, topic } = this.#reader;
    const open = (): Promise<LogFile> =>
      fileSystem.open(join(topic.directory, segmentName(this.#segmentBase)), 'read');
    try {
      this.#file = await open();
    } catch (error) {
      if (!isFileError(error, 'ENOENT')) throw error;
      // A reader that waited at the end of a segment needs nothing of it: retention may have removed it meanwhile.
      await this.#enterNextSegment();
      this.#file = await open();
    }
    this.#scanner = new SegmentScanner(this.#file, this.#position, topic.incarnationBytes);
    return this.#scanner;
  }

  /** The segment that begins with the group wanted now. A sealed one that ends before it has lost groups. */
  async #enterNextSegment(): Promise<void> {
    const segments = await this.#reader.segments();
    const next = segments.find((segment) => segment.base === this.#sequence);
    if (this.#sequence < (segments[0]?.base ?? 0)) throw this.#lost();
    if (next === undefined) throw await this.#damaged(`group ${this.#sequence} is not there`);
    await this.close();
    this.#segmentBase = next.base;
    this.#position = next.headerBytes;
  }

  async #sealedEnd(): Promise<{ bytes: number; nextBase: number | undefined }> {
    const segments = await this.#reader.segments();
    const next = segments.find((segment) => segment.base > this.#segmentBase);
    return { bytes: await (this.#file as LogFile).size(), nextBase: next?.base };
  }

  #lost(): Error {
    const { topic } = this.#reader.topic;
    const detail = `The part of topic ${topic} that was to be read next was removed by retention.`;
    return logError('PULSE_LOG_OFFSET_LOST', detail, { details: { topic } });
  }

  /** Drops the buffered bytes as well, so that a restored file is read anew. */
  async #damaged(why: string): Promise<Error> {
    const path = join(this.#reader.topic.directory, segmentName(this.#segmentBase));
    await this.close();
    logCounts.corruptPlaces++;
    return corrupt(path, this.#position, why);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    this.#scanner = null;
    this.#sealed = null;
    await file?.close();
  }
}
