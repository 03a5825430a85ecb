// What a topic's journal holds after a crash: where it ends, and whether its last group is torn or something is damaged
// (SPEC.md §6). Reads only; the writer acts on the answer.
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FileSystem, LogFile } from './file-system.ts';
import { checkGroup, groupMagic } from './group-codec.ts';
import { SegmentScanner, scanChunkBytes } from './segment-scanner.ts';
import {
  corrupt,
  decodeHead,
  type Head,
  headBytes,
  listSegments,
  type PublishedEnd,
  readSegmentHeader,
  type SegmentHeader,
  segmentName,
  type TopicDescription,
} from './topic-files.ts';

/** A last group that was never acknowledged, and is to be cut off. */
export interface UnfinishedGroup {
  readonly file: string;
  readonly byte: number;
  readonly why: string;
  /** True when it is all that its file holds: then the file goes. */
  readonly isWholeFile: boolean;
}

/** The state of a journal as its files tell it. */
export interface JournalState {
  /** Where the journal ends without the unfinished group. */
  readonly end: PublishedEnd;
  /** Append time of the last group; 0 when there is none. */
  readonly lastTimeMs: number;
  /** Size of the last segment's file; 0 when there is none. */
  readonly lastSegmentBytes: number;
  readonly unfinished: UnfinishedGroup | null;
}

/**
 * Reads the headers of all segments and every group of the last one.
 * Guarantees: a broken place counts as torn only when it is in the last segment, is not its first group, lies beyond
 * what `head` says was durable, and no good group stands behind it (I6). Everything else is damage.
 * A whole group right behind an exact head was never published and is unfinished, too (I7).
 * Errors: PULSE_LOG_CORRUPT, naming file and byte.
 */
export async function readJournal(
  fileSystem: FileSystem,
  topic: TopicDescription,
  head: Head | null,
): Promise<JournalState> {
  const segments = await readSegments(fileSystem, topic);
  const state = await readEnd(fileSystem, topic, head, segments);
  const bootId = fileSystem.bootId();
  const isExact = head !== null && bootId !== '' && head.bootId === bootId;
  // More than one group behind the head cannot come from its writer: the head is an old copy, as in a backup.
  if (!isExact || state.end.sequence !== head.sequence + 1) return state;
  return await withoutLastGroup(fileSystem, topic, head, segments, state);
}

/**
 * The writer ended between writing a group and publishing it. The page cache may show a group whose sync failed and
 * that the disk does not have; nobody was told of it, so it goes.
 */
async function withoutLastGroup(
  fileSystem: FileSystem,
  topic: TopicDescription,
  head: Head,
  segments: readonly SegmentHeader[],
  state: JournalState,
): Promise<JournalState> {
  const why = 'it was written, but never published';
  const { segmentBase } = state.end;
  const file = join(topic.directory, segmentName(segmentBase));
  if (segmentBase === state.end.sequence) {
    const before = await readEnd(fileSystem, topic, head, segments.slice(0, -1));
    return { ...before, unfinished: { file, byte: 0, why, isWholeFile: true } };
  }
  const end = { ...head, segmentBase, earliestBase: state.end.earliestBase };
  const unfinished = { file, byte: head.position, why, isWholeFile: false };
  return { end, lastTimeMs: state.lastTimeMs, lastSegmentBytes: state.lastSegmentBytes, unfinished };
}

/** The end of the last of these segments. */
async function readEnd(
  fileSystem: FileSystem,
  topic: TopicDescription,
  head: Head | null,
  segments: readonly SegmentHeader[],
): Promise<JournalState> {
  const last = segments.at(-1);
  if (head !== null && head.segmentBase > (last?.base ?? 0)) {
    throw corrupt(join(topic.directory, segmentName(head.segmentBase)), 0, 'the file is missing');
  }
  if (last === undefined) {
    const ends = new Array<number>(topic.partitions).fill(0);
    const end = { sequence: 0, segmentBase: 0, position: 0, earliestBase: 0, ends };
    return { end, lastTimeMs: 0, lastSegmentBytes: 0, unfinished: null };
  }
  const path = join(topic.directory, segmentName(last.base));
  const file = await fileSystem.open(path, 'read');
  try {
    const tail = await readTail(file, topic, last, head);
    const end = {
      sequence: tail.sequence,
      segmentBase: last.base,
      position: tail.position,
      earliestBase: (segments[0] as SegmentHeader).base,
      ends: tail.ends,
    };
    const unfinished =
      tail.brokenWhy === null
        ? null
        : { file: path, byte: tail.position, why: tail.brokenWhy, isWholeFile: false };
    return { end, lastTimeMs: tail.timeMs, lastSegmentBytes: tail.fileBytes, unfinished };
  } finally {
    await file.close();
  }
}

/** Headers of all segments, oldest first; each must name the one before it. */
export async function readSegments(
  fileSystem: FileSystem,
  topic: TopicDescription,
): Promise<SegmentHeader[]> {
  const headers: SegmentHeader[] = [];
  for (const base of await listSegments(fileSystem, topic.directory)) {
    const header = await readSegmentHeader(fileSystem, topic, base);
    const previous = headers.at(-1);
    if (previous !== undefined && header.previousBase !== previous.base) {
      const missing = join(topic.directory, segmentName(header.previousBase));
      throw corrupt(missing, 0, 'the file is missing, while segments before and after it are there');
    }
    headers.push(header);
  }
  return headers;
}

interface Tail {
  readonly sequence: number;
  readonly position: number;
  readonly ends: readonly number[];
  readonly timeMs: number;
  readonly fileBytes: number;
  readonly brokenWhy: string | null;
}

async function readTail(
  file: LogFile,
  topic: TopicDescription,
  segment: SegmentHeader,
  head: Head | null,
): Promise<Tail> {
  const fileBytes = await file.size();
  const scanner = new SegmentScanner(file, segment.headerBytes, topic.incarnationBytes);
  const ends = [...segment.startOffsets];
  let sequence = segment.base - 1;
  let timeMs = segment.firstTimeMs;
  let position = segment.headerBytes;
  let brokenWhy: string | null = null;
  for (;;) {
    const step = await scanner.next(fileBytes);
    if (step.kind === 'group') {
      if (step.group.sequence !== sequence + 1) {
        brokenWhy = `group ${step.group.sequence} stands where ${sequence + 1} belongs`;
        break;
      }
      for (const share of step.group.shares) {
        if (share.firstOffset !== ends[share.partition]) {
          throw corrupt(file.path, step.position, `partition ${share.partition} does not go on at its end`);
        }
        ends[share.partition] = share.firstOffset + share.records;
      }
      sequence++;
      timeMs = step.group.appendTimeMs;
      position = scanner.position;
      continue;
    }
    if (step.kind === 'broken') brokenWhy = step.why;
    else if (!(await onlyZeros(file, position, fileBytes))) brokenWhy = 'bytes without a group header';
    break;
  }
  if (brokenWhy === null) {
    if (head !== null && head.sequence > sequence) {
      throw corrupt(file.path, position, `group ${sequence + 1} was durable and is gone`);
    }
  } else {
    await refuseDamage(file, topic, {
      position,
      sequence: sequence + 1,
      fileBytes,
      why: brokenWhy,
      segment,
      head,
    });
  }
  return { sequence, position, ends, timeMs, fileBytes, brokenWhy };
}

/** Throws unless the broken place can only be a write that never completed. */
async function refuseDamage(
  file: LogFile,
  topic: TopicDescription,
  broken: {
    readonly position: number;
    readonly sequence: number;
    readonly fileBytes: number;
    readonly why: string;
    readonly segment: SegmentHeader;
    readonly head: Head | null;
  },
): Promise<void> {
  if (broken.sequence === broken.segment.base) {
    throw corrupt(
      file.path,
      broken.position,
      `${broken.why}, in the first group, which was durable before the file got its name`,
    );
  }
  if (broken.head !== null && broken.head.sequence >= broken.sequence) {
    throw corrupt(
      file.path,
      broken.position,
      `${broken.why}, in group ${broken.sequence}, which was durable`,
    );
  }
  const later = await findLaterGroup(file, topic, broken.position, broken.fileBytes, broken.sequence);
  if (later !== null) {
    throw corrupt(file.path, broken.position, `${broken.why}, and a good group follows at byte ${later}`);
  }
}

/** Position of a good group at or behind `sequence` that begins after `position`; null when there is none. */
async function findLaterGroup(
  file: LogFile,
  topic: TopicDescription,
  position: number,
  fileBytes: number,
  sequence: number,
): Promise<number | null> {
  const bytes = Buffer.allocUnsafeSlow(fileBytes - position);
  const count = await file.read(bytes, position);
  for (let at = bytes.indexOf(groupMagic, 1); at >= 0; at = bytes.indexOf(groupMagic, at + 1)) {
    const check = checkGroup(bytes, at, count, topic.incarnationBytes);
    if (check.kind === 'group' && check.group.sequence >= sequence) return position + at;
  }
  return null;
}

const zeroChunk = Buffer.alloc(scanChunkBytes);

async function onlyZeros(file: LogFile, from: number, to: number): Promise<boolean> {
  const bytes = Buffer.allocUnsafeSlow(Math.min(scanChunkBytes, Math.max(to - from, 0)));
  for (let at = from; at < to; at += bytes.length) {
    const count = await file.read(bytes.subarray(0, Math.min(bytes.length, to - at)), at);
    if (count === 0) return true;
    if (bytes.compare(zeroChunk, 0, count, 0, count) !== 0) return false;
  }
  return true;
}

/**
 * The head; null when it stays unreadable, which is no read in the middle of a write then but a torn write.
 * Looks again a few times: a write of a few hundred bytes into the page cache takes microseconds.
 */
export async function readHeadFile(info: TopicDescription, headFile: LogFile): Promise<Head | null> {
  const bytes = Buffer.alloc(headBytes(info.partitions));
  for (let attempt = 0; attempt < 10; attempt++) {
    const head = decodeHead(bytes.subarray(0, await headFile.read(bytes, 0)));
    if (head !== null) return head;
    await nextTurn();
  }
  return null;
}
