// The bytes of segment files, by src/ports/event-log/embedded/SPEC.md and by nothing else: written anew on purpose, so that a
// mistake in the product's own reader cannot hide here as well.
import { crc32 } from 'node:zlib';

/** A group: what one fdatasync made durable. */
export interface Group {
  readonly start: number;
  readonly end: number;
  readonly sequence: number;
  readonly appendTimeMs: number;
  readonly records: readonly RawRecord[];
  /** Rows of the partition table. */
  readonly shares: readonly {
    readonly partition: number;
    readonly records: number;
    readonly firstOffset: number;
  }[];
}

/** A record without its offset's context. */
export interface RawRecord {
  readonly partition: number;
  readonly offset: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly value: Buffer;
}

/** What stands in a segment's first bytes. */
export interface SegmentHead {
  readonly base: number;
  readonly previousBase: number;
  readonly headerBytes: number;
  readonly incarnation: string;
  readonly startOffsets: readonly number[];
}

/** What a topic's head file says: everything up to here is durable. */
export interface Head {
  readonly sequence: number;
  readonly segmentBase: number;
  readonly position: number;
  readonly earliestBase: number;
  readonly ends: readonly number[];
}

/** Header names that stand as one byte; SPEC §4 fixes their order for ever. */
const namesByNumber = (
  'ce_id ce_type ce_source ce_time ce_subject pulse_tenant pulse_received_at pulse_protocol pulse_attempt pulse_origin ' +
  'traceparent pulse_request_id pulse_idempotency_key pulse_request_hash pulse_request_index pulse_user_agent ' +
  'pulse_client_address pulse_source pulse_previous_source pulse_dead_letter_code pulse_dead_letter_stage ' +
  'pulse_dead_letter_failures content_type ce_specversion ce_datacontenttype ce_dataschema'
).split(' ');

const groupHeadBytes = 56;
const recordHeadBytes = 24;
const shareBytes = 16;

function uint64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

/** `HEAD`, or why it is none. */
export function parseHead(bytes: Buffer): Head | string {
  if (bytes.length < 96 || bytes.toString('latin1', 0, 4) !== 'HEAD') return 'it does not begin with HEAD';
  if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8))) return 'its checksum does not match';
  const partitions = bytes.readUInt16LE(10);
  return {
    sequence: uint64(bytes, 16),
    segmentBase: uint64(bytes, 24),
    position: uint64(bytes, 32),
    earliestBase: uint64(bytes, 40),
    ends: Array.from({ length: partitions }, (_, i) => uint64(bytes, 96 + i * 8)),
  };
}

/** A segment's header, or why it is none. */
export function parseSegmentHead(bytes: Buffer): SegmentHead | string {
  if (bytes.length < 64 || bytes.toString('latin1', 0, 4) !== 'PSEG') return 'it does not begin with PSEG';
  const headerBytes = bytes.readUInt32LE(12);
  if (headerBytes < 64 || headerBytes > bytes.length)
    return `its header of ${headerBytes} bytes does not fit`;
  if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8, headerBytes)))
    return 'the checksum of its header does not match';
  const partitions = bytes.readUInt16LE(10);
  return {
    base: uint64(bytes, 16),
    previousBase: uint64(bytes, 24),
    headerBytes,
    incarnation: bytes.toString('hex', 40, 56),
    startOffsets: Array.from({ length: partitions }, (_, i) => uint64(bytes, 64 + i * 8)),
  };
}

/** The group at `start`; null where only zeros stand; else why there is none. `limit`: no group reaches beyond it. */
export function parseGroup(
  bytes: Buffer,
  start: number,
  limit: number,
  incarnation: string,
): Group | null | string {
  if (limit - start < groupHeadBytes) {
    return bytes.subarray(start, limit).every((byte) => byte === 0) ? null : 'bytes that begin no group';
  }
  if (bytes.toString('latin1', start, start + 4) !== 'PGRP') {
    const isEmpty = bytes.subarray(start, start + groupHeadBytes).every((byte) => byte === 0);
    return isEmpty ? null : 'bytes that begin no group';
  }
  const end = start + groupHeadBytes + bytes.readUInt32LE(start + 12);
  if (end > limit) return `a group that would end at byte ${end}, beyond ${limit}`;
  if (bytes.readUInt32LE(start + 4) !== crc32(bytes.subarray(start + 8, end)))
    return 'a group whose checksum does not match';
  if (bytes.readUInt16LE(start + 8) !== 1) return 'a group of an unknown format version';
  if (bytes.toString('hex', start + 40, start + 56) !== incarnation) return 'a group of another topic';
  const recordsEnd = start + groupHeadBytes + bytes.readUInt32LE(start + 36);
  const shares: { partition: number; records: number; firstOffset: number }[] = [];
  for (let at = recordsEnd; at + shareBytes <= end; at += shareBytes) {
    const partition = bytes.readUInt32LE(at);
    shares.push({ partition, records: bytes.readUInt32LE(at + 4), firstOffset: uint64(bytes, at + 8) });
  }
  const first = new Map(shares.map((share) => [share.partition, share.firstOffset]));
  const records: RawRecord[] = [];
  let at = start + groupHeadBytes;
  while (at < recordsEnd) {
    const record = parseRecord(bytes, at, recordsEnd, first);
    if (typeof record === 'string') return record;
    records.push(record.record);
    at = record.end;
  }
  if (records.length !== bytes.readUInt32LE(start + 32))
    return `a group of ${records.length} records that names another count`;
  const sequence = uint64(bytes, start + 16);
  return { start, end, sequence, appendTimeMs: uint64(bytes, start + 24), records, shares };
}

function parseRecord(
  bytes: Buffer,
  start: number,
  limit: number,
  firstOffsets: ReadonlyMap<number, number>,
): { readonly record: RawRecord; readonly end: number } | string {
  const length = bytes.readUInt32LE(start);
  const end = start + length;
  if (length < recordHeadBytes || end > limit) return `a record at byte ${start} that does not fit its group`;
  const valueStart = end - bytes.readUInt32LE(start + 8);
  const textStart = valueStart - bytes.readUInt32LE(start + 12);
  const partition = bytes.readUInt16LE(start + 20);
  const firstOffset = firstOffsets.get(partition);
  if (firstOffset === undefined) return `a record of partition ${partition}, which its group does not name`;
  const text = bytes.toString('utf8', textStart, valueStart);
  const headers = new Map<string, string>();
  let unit = bytes.readUInt32LE(start + 16); // The key stands first in the text.
  let at = start + recordHeadBytes;
  const take = (units: number): string => {
    const taken = text.slice(unit, unit + units);
    unit += units;
    return taken;
  };
  for (let count = bytes[start + 22] as number; count > 0; count--) {
    const number = bytes[at++] as number;
    const name = number === 0 ? take(bytes[at++] as number) : (namesByNumber[number - 1] ?? `?${number}`);
    headers.set(name, take(bytes.readUInt16LE(at)));
    at += 2;
  }
  if (at !== textStart) return `a record at byte ${start} whose parts do not add up`;
  const offset = firstOffset + bytes.readUInt32LE(start + 4);
  return { record: { partition, offset, headers, value: bytes.subarray(valueStart, end) }, end };
}
