// A group commit as bytes (SPEC.md §3): the unit that is written, checked and recovered. One checksum covers it all.
import { crc32 } from 'node:zlib';
import { type LogRecord, logError } from '../event-log.ts';
import { encodeRecord, type Sink } from './record-codec.ts';

/** Bytes of the fixed group header. */
export const groupHeaderBytes = 56;
/** Bytes of one row of the partition table behind the records. */
const partitionRowBytes = 16;
/** 'PGRP' as little-endian bytes. */
export const groupMagic = Buffer.from('PGRP', 'latin1');
const groupMagicNumber = groupMagic.readUInt32LE(0);
const groupFormatVersion = 1;

/** A partition's share of a group. */
export interface PartitionShare {
  readonly partition: number;
  readonly firstOffset: number;
  readonly records: number;
}

/** A group whose checksum was good. Positions are inside `bytes`. */
export interface GroupView {
  readonly bytes: Buffer;
  readonly start: number;
  readonly totalBytes: number;
  readonly sequence: number;
  readonly appendTimeMs: number;
  readonly recordCount: number;
  readonly recordsStart: number;
  readonly recordsEnd: number;
  readonly shares: readonly PartitionShare[];
}

/**
 * A group that is being gathered. Reused after `reset`.
 * Invariant: all records of one `add` are in this group, so a call is durable as a whole or not at all (I3).
 */
export class GroupBuilder implements Sink {
  bytes: Buffer;
  #used = groupHeaderBytes;
  #records = 0;
  readonly #shares = new Map<number, { firstOffset: number; records: number }>();

  constructor(initialBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(initialBytes);
  }

  get usedBytes(): number {
    return this.#used;
  }

  get recordCount(): number {
    return this.#records;
  }

  /** What each partition has in this group. */
  *shares(): Iterable<PartitionShare> {
    for (const [partition, share] of this.#shares) yield { partition, ...share };
  }

  reserve(used: number, count: number): void {
    const needed = used + count;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, used);
    this.bytes = larger;
  }

  /**
   * Takes the records of one append and gives them offsets: `ends[partition]` is moved on.
   * Errors: PULSE_LOG_RECORD_INVALID; nothing is taken then, and `ends` is as it was.
   */
  add(records: readonly LogRecord[], ends: number[]): number[] {
    const offsets = new Array<number>(records.length);
    let at = this.#used;
    let done = 0;
    try {
      for (; done < records.length; done++) {
        const record = records[done] as LogRecord;
        const offset = ends[record.partition];
        if (offset === undefined) throw unknownPartition(record.partition, ends.length);
        const share = this.#shares.get(record.partition);
        at = encodeRecord(this, at, record, share === undefined ? 0 : share.records);
        if (share === undefined) this.#shares.set(record.partition, { firstOffset: offset, records: 1 });
        else share.records++;
        ends[record.partition] = offset + 1;
        offsets[done] = offset;
      }
    } catch (error) {
      for (let i = done - 1; i >= 0; i--) this.#untake((records[i] as LogRecord).partition, ends);
      throw error;
    }
    this.#used = at;
    this.#records += records.length;
    return offsets;
  }

  #untake(partition: number, ends: number[]): void {
    const share = this.#shares.get(partition);
    if (share === undefined) return;
    share.records--;
    ends[partition] = (ends[partition] as number) - 1;
    if (share.records === 0) this.#shares.delete(partition);
  }

  /** Completes the group and returns its bytes: a view that is good until `reset`. */
  seal(sequence: number, appendTimeMs: number, incarnation: Buffer): Buffer {
    const recordsEnd = this.#used;
    const total = recordsEnd + this.#shares.size * partitionRowBytes;
    this.reserve(recordsEnd, total - recordsEnd);
    const bytes = this.bytes;
    let at = recordsEnd;
    for (const [partition, share] of this.#shares) {
      bytes.writeUInt32LE(partition, at);
      bytes.writeUInt32LE(share.records, at + 4);
      putUint64(bytes, at + 8, share.firstOffset);
      at += partitionRowBytes;
    }
    bytes.writeUInt32LE(groupMagicNumber, 0);
    bytes.writeUInt16LE(groupFormatVersion, 8);
    bytes.writeUInt16LE(this.#shares.size, 10);
    bytes.writeUInt32LE(total - groupHeaderBytes, 12);
    putUint64(bytes, 16, sequence);
    putUint64(bytes, 24, appendTimeMs);
    bytes.writeUInt32LE(this.#records, 32);
    bytes.writeUInt32LE(recordsEnd - groupHeaderBytes, 36);
    incarnation.copy(bytes, 40, 0, 16);
    bytes.writeUInt32LE(crc32(bytes.subarray(8, total)), 4);
    return bytes.subarray(0, total);
  }

  /** Empties the builder; a buffer beyond `keepBytesMax` is given back. */
  reset(keepBytesMax: number): void {
    this.#used = groupHeaderBytes;
    this.#records = 0;
    this.#shares.clear();
    if (this.bytes.length > keepBytesMax) this.bytes = Buffer.allocUnsafeSlow(keepBytesMax);
  }
}

/** What stands at a place where a group may begin. */
export type GroupCheck =
  | { readonly kind: 'group'; readonly group: GroupView }
  /** No header: the first bytes are zero. */
  | { readonly kind: 'empty' }
  /** More bytes are needed to judge: at least `bytes` from the start on. */
  | { readonly kind: 'short'; readonly bytes: number }
  | { readonly kind: 'broken'; readonly why: string };

/**
 * Judges the bytes from `start` to `end`. Only a group with a good checksum and this incarnation is believed.
 * Cost: one pass of CRC-32 over the group.
 */
export function checkGroup(bytes: Buffer, start: number, end: number, incarnation: Buffer): GroupCheck {
  if (end - start < groupHeaderBytes) return { kind: 'short', bytes: groupHeaderBytes };
  if (bytes.readUInt32LE(start) !== groupMagicNumber) {
    return isZero(bytes, start, start + groupHeaderBytes)
      ? { kind: 'empty' }
      : { kind: 'broken', why: 'no group begins here' };
  }
  const total = groupHeaderBytes + bytes.readUInt32LE(start + 12);
  if (total > groupBytesLimit) return { kind: 'broken', why: `its length of ${total} bytes is impossible` };
  if (end - start < total) return { kind: 'short', bytes: total };
  if (bytes.readUInt32LE(start + 4) !== crc32(bytes.subarray(start + 8, start + total))) {
    return { kind: 'broken', why: 'its checksum does not match' };
  }
  const version = bytes.readUInt16LE(start + 8);
  if (version !== groupFormatVersion)
    return { kind: 'broken', why: `its format version ${version} is unknown` };
  if (bytes.compare(incarnation, 0, 16, start + 40, start + 56) !== 0) {
    return { kind: 'broken', why: 'it belongs to another topic' };
  }
  return { kind: 'group', group: viewOf(bytes, start, total) };
}

/** Longer groups are never written: one append call is bounded by the pending bytes of the writer. */
const groupBytesLimit = 2 ** 31;

function viewOf(bytes: Buffer, start: number, totalBytes: number): GroupView {
  const recordsStart = start + groupHeaderBytes;
  const recordsEnd = recordsStart + bytes.readUInt32LE(start + 36);
  const shares: PartitionShare[] = [];
  for (let at = recordsEnd; at < start + totalBytes; at += partitionRowBytes) {
    shares.push({
      partition: bytes.readUInt32LE(at),
      records: bytes.readUInt32LE(at + 4),
      firstOffset: getUint64(bytes, at + 8),
    });
  }
  return {
    bytes,
    start,
    totalBytes,
    sequence: getUint64(bytes, start + 16),
    appendTimeMs: getUint64(bytes, start + 24),
    recordCount: bytes.readUInt32LE(start + 32),
    recordsStart,
    recordsEnd,
    shares,
  };
}

function unknownPartition(partition: number, partitions: number): Error {
  const detail = `A record names partition ${partition}; the topic has partitions 0 to ${partitions - 1}.`;
  return logError('PULSE_LOG_RECORD_INVALID', detail);
}

export function isZero(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Whole numbers up to 2^53 as eight little-endian bytes. */
export function putUint64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

export function getUint64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}
