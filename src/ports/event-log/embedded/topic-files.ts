// The files of one topic (SPEC.md §1, §2, §5): topic.json, the head that readers follow, and the headers of segments.
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { logError, type TopicInfo, type TopicOptions } from '../event-log.ts';
import type { FileSystem, LogFile } from './file-system.ts';
import { getUint64, putUint64 } from './group-codec.ts';

/** Version of everything under a topic's directory. */
const topicFormatVersion = 1;
export const topicNamePattern = /^[a-z0-9_][a-z0-9._-]{0,199}$/;

/** A topic as its files tell. */
export interface TopicDescription extends TopicInfo {
  readonly directory: string;
  readonly incarnationBytes: Buffer;
  readonly retentionMs: number;
  readonly retentionBytes: number;
}

/** Everything up to here is durable. What readers may see. */
export interface PublishedEnd {
  /** Sequence of the last durable group; 0 when there is none. */
  readonly sequence: number;
  /** Base sequence of the segment that holds it; 0 when there is none. */
  readonly segmentBase: number;
  /** Position behind it in that segment. */
  readonly position: number;
  /** Base sequence of the oldest segment; 0 when there is none. */
  readonly earliestBase: number;
  /** End offset of each partition. */
  readonly ends: readonly number[];
}

export const topicsDirectory = (directory: string): string => join(directory, 'topics');
export const groupsDirectory = (directory: string): string => join(directory, 'groups');

/** A file's bytes as a whole; null when there is no such file. For small files. */
export async function readWhole(fileSystem: FileSystem, path: string): Promise<Buffer | null> {
  let file: LogFile;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(await file.size());
    return bytes.subarray(0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

/** Makes a file with these bytes. `sync` makes the bytes durable, not the name. */
export async function writeWhole(
  fileSystem: FileSystem,
  path: string,
  bytes: Uint8Array,
  sync: boolean,
): Promise<void> {
  const file = await fileSystem.open(path, 'create');
  try {
    await file.write(bytes, 0);
    if (sync) await file.datasync();
  } finally {
    await file.close();
  }
}

/** The bytes of topic.json. */
export function topicJson(topic: string, incarnation: string, options: TopicOptions): Buffer {
  const content = {
    format_version: topicFormatVersion,
    topic,
    partitions: options.partitions,
    incarnation,
    retention_ms: options.retentionMs,
    retention_bytes: options.retentionBytes,
  };
  return Buffer.from(`${JSON.stringify(content, null, 2)}\n`);
}

/**
 * Reads topic.json; null when the topic does not exist.
 * Errors: PULSE_LOG_FORMAT_UNKNOWN, PULSE_LOG_CORRUPT when the file is no description of a topic.
 */
export async function readTopic(
  fileSystem: FileSystem,
  directory: string,
  topic: string,
): Promise<TopicDescription | null> {
  const topicDirectory = join(topicsDirectory(directory), topic);
  const path = join(topicDirectory, 'topic.json');
  const bytes = await readWhole(fileSystem, path);
  if (bytes === null) return null;
  let content: Record<string, unknown>;
  try {
    content = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw corrupt(path, 0, 'it is not JSON', cause);
  }
  if (content['format_version'] !== topicFormatVersion) {
    throw logError(
      'PULSE_LOG_FORMAT_UNKNOWN',
      `${path} has format_version ${JSON.stringify(content['format_version'])}; this version of Pulse reads ${topicFormatVersion}.`,
      { details: { file: path } },
    );
  }
  const { partitions, incarnation, retention_ms: ageMs, retention_bytes: size } = content;
  if (
    !Number.isInteger(partitions) ||
    typeof incarnation !== 'string' ||
    !/^[0-9a-f-]{36}$/.test(incarnation) ||
    !Number.isSafeInteger(ageMs) ||
    !Number.isSafeInteger(size)
  ) {
    throw corrupt(path, 0, 'a field is missing or mistyped');
  }
  return {
    topic,
    directory: topicDirectory,
    partitions: partitions as number,
    incarnation,
    incarnationBytes: Buffer.from(incarnation.replaceAll('-', ''), 'hex'),
    retentionMs: ageMs as number,
    retentionBytes: size as number,
  };
}

/** The error that names a broken place. */
export function corrupt(file: string, byte: number, why: string, cause?: unknown): Error {
  return logError('PULSE_LOG_CORRUPT', `${file} is damaged at byte ${byte}: ${why}.`, {
    details: { file, byte },
    ...(cause === undefined ? {} : { cause }),
  });
}

// ---- head ----------------------------------------------------------------------------------------------------------

const headMagic = 0x4441_4548; // 'HEAD'
const headFixedBytes = 96;
export const headName = 'head';

/** What the head file says. */
export interface Head extends PublishedEnd {
  /** Boot of the machine that wrote it; see FileSystem.bootId. */
  readonly bootId: string;
}

export function headBytes(partitions: number): number {
  return headFixedBytes + partitions * 8;
}

/** Writes the head into `target`, which has `headBytes(partitions)` bytes. */
export function encodeHead(target: Buffer, head: Head): void {
  target.fill(0, 0, headFixedBytes);
  target.writeUInt32LE(headMagic, 0);
  target.writeUInt16LE(1, 8);
  target.writeUInt16LE(head.ends.length, 10);
  putUint64(target, 16, head.sequence);
  putUint64(target, 24, head.segmentBase);
  putUint64(target, 32, head.position);
  putUint64(target, 40, head.earliestBase);
  target.write(head.bootId.slice(0, 36), 48, 'latin1');
  head.ends.forEach((end, partition) => {
    putUint64(target, headFixedBytes + partition * 8, end);
  });
  target.writeUInt32LE(crc32(target.subarray(8)), 4);
}

/** Null when the bytes are no head: torn by a write under way, or by a power loss. */
export function decodeHead(bytes: Buffer): Head | null {
  if (bytes.length < headFixedBytes || bytes.readUInt32LE(0) !== headMagic) return null;
  if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8))) return null;
  const partitions = bytes.readUInt16LE(10);
  const bootId = bytes.toString('latin1', 48, 84);
  const end = bootId.indexOf('\0');
  return {
    sequence: getUint64(bytes, 16),
    segmentBase: getUint64(bytes, 24),
    position: getUint64(bytes, 32),
    earliestBase: getUint64(bytes, 40),
    bootId: end < 0 ? bootId : bootId.slice(0, end),
    ends: Array.from({ length: partitions }, (_, i) => getUint64(bytes, headFixedBytes + i * 8)),
  };
}

// ---- segments ------------------------------------------------------------------------------------------------------

const segmentMagic = 0x4745_5350; // 'PSEG'
const segmentFixedBytes = 64;
/** Name of the segment that is being prepared; it holds nothing that counts. */
export const spareName = 'next.spare';

/** What a segment's header says. */
export interface SegmentHeader {
  /** Sequence of its first group. */
  readonly base: number;
  /** Base of the segment before it; 0 for the first one. */
  readonly previousBase: number;
  /** Append time of its first group. */
  readonly firstTimeMs: number;
  /** Where its first group begins. */
  readonly headerBytes: number;
  /** End offsets of all partitions before its first group. */
  readonly startOffsets: readonly number[];
}

export function segmentHeaderBytes(partitions: number): number {
  return Math.ceil((segmentFixedBytes + partitions * 8) / 4096) * 4096;
}

export function segmentName(base: number): string {
  return `${String(base).padStart(20, '0')}.segment`;
}

/** Base sequence of a segment's file name; null for other names. */
function segmentBaseOf(name: string): number | null {
  return /^\d{20}\.segment$/.test(name) ? Number(name.slice(0, 20)) : null;
}

export function encodeSegmentHeader(header: SegmentHeader, incarnation: Buffer): Buffer {
  const bytes = Buffer.alloc(header.headerBytes);
  bytes.writeUInt32LE(segmentMagic, 0);
  bytes.writeUInt16LE(1, 8);
  bytes.writeUInt16LE(header.startOffsets.length, 10);
  bytes.writeUInt32LE(header.headerBytes, 12);
  putUint64(bytes, 16, header.base);
  putUint64(bytes, 24, header.previousBase);
  putUint64(bytes, 32, header.firstTimeMs);
  incarnation.copy(bytes, 40, 0, 16);
  header.startOffsets.forEach((offset, partition) => {
    putUint64(bytes, segmentFixedBytes + partition * 8, offset);
  });
  bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4);
  return bytes;
}

/**
 * Reads and checks the header of the segment with this base.
 * Errors: PULSE_LOG_CORRUPT; ENOENT when retention removed the file meanwhile.
 */
export async function readSegmentHeader(
  fileSystem: FileSystem,
  topic: TopicDescription,
  base: number,
): Promise<SegmentHeader> {
  const path = join(topic.directory, segmentName(base));
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.alloc(segmentHeaderBytes(topic.partitions));
    const count = await file.read(bytes, 0);
    const good =
      count === bytes.length &&
      bytes.readUInt32LE(0) === segmentMagic &&
      bytes.readUInt32LE(4) === crc32(bytes.subarray(8)) &&
      bytes.readUInt16LE(8) === 1 &&
      bytes.readUInt16LE(10) === topic.partitions &&
      bytes.compare(topic.incarnationBytes, 0, 16, 40, 56) === 0 &&
      getUint64(bytes, 16) === base;
    if (!good) throw corrupt(path, 0, 'its header does not match its checksum, its name or its topic');
    return {
      base,
      previousBase: getUint64(bytes, 24),
      firstTimeMs: getUint64(bytes, 32),
      headerBytes: bytes.length,
      startOffsets: Array.from({ length: topic.partitions }, (_, i) =>
        getUint64(bytes, segmentFixedBytes + i * 8),
      ),
    };
  } finally {
    await file.close();
  }
}

/** Bases of a topic's segments, oldest first. */
export async function listSegments(fileSystem: FileSystem, topicDirectory: string): Promise<number[]> {
  const bases: number[] = [];
  for (const name of await fileSystem.list(topicDirectory)) {
    const base = segmentBaseOf(name);
    if (base !== null) bases.push(base);
  }
  return bases.sort((a, b) => a - b);
}
