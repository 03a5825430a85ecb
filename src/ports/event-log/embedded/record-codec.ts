// One record as bytes (SPEC.md §4). All text of a record is written and read in one piece: a call into the engine's
// UTF-8 encoder per header costs more than the rest of the encoding together.
import { type LogRecord, logError, type StoredRecord } from '../event-log.ts';

/** Bytes before the table of header lengths. */
const recordFixedBytes = 24;
/** Bytes of one row of that table at most. */
const tableRowBytesMax = 4;

/** Limits of a record, as the port promises them. */
const recordLimits = {
  valueBytesMax: 2 * 1_048_576,
  headersMax: 64,
  /** Names and values of all headers together, in UTF-16 units; also the longest key. */
  textUnitsMax: 65_536,
  headerNameUnitsMax: 255,
} as const;

/**
 * Header names that are stored as one byte: their place in this list, from 1 on. Part of format version 1: names may be
 * added at the end, never moved or removed.
 */
const wellKnownNames = [
  'ce_id',
  'ce_type',
  'ce_source',
  'ce_time',
  'ce_subject',
  'pulse_tenant',
  'pulse_received_at',
  'pulse_protocol',
  'pulse_attempt',
  'pulse_origin',
  'traceparent',
  'pulse_request_id',
  'pulse_idempotency_key',
  'pulse_request_hash',
  'pulse_request_index',
  'pulse_user_agent',
  'pulse_client_address',
  'pulse_source',
  'pulse_previous_source',
  'pulse_dead_letter_code',
  'pulse_dead_letter_stage',
  'pulse_dead_letter_failures',
  'content_type',
  'ce_specversion',
  'ce_datacontenttype',
  'ce_dataschema',
] as const;

const indexOfName = new Map<string, number>(wellKnownNames.map((name, i) => [name, i + 1]));
const namePattern = /^[a-z0-9_]{1,255}$/;
const flagHasKey = 1;

/** Room that the fixed part and the table of a record need at most. */
const recordOverheadBytesMax = recordFixedBytes + recordLimits.headersMax * tableRowBytesMax;

/** A buffer that grows; `bytes` is replaced when it does. */
export interface Sink {
  bytes: Buffer;
  /** Makes room for `count` bytes from `used` on, keeping the bytes before. */
  reserve(used: number, count: number): void;
}

/** The table rows and the text of some headers. */
interface EncodedHeaders {
  readonly table: Uint8Array;
  readonly text: Uint8Array;
  /** Length of the text in UTF-16 units. */
  readonly units: number;
  readonly count: number;
}

const noHeaders: EncodedHeaders = { table: new Uint8Array(0), text: new Uint8Array(0), units: 0, count: 0 };

// The records of one append come one after another, so remembering the last shared headers is enough.
let lastShared: Readonly<Record<string, string>> | null = null;
let lastEncoded = noHeaders;

function encodedOnce(headers: Readonly<Record<string, string>>): EncodedHeaders {
  if (headers === lastShared) return lastEncoded;
  const table = Buffer.allocUnsafe(recordLimits.headersMax * tableRowBytesMax);
  const { end, text, count } = putHeaders(table, 0, headers, recordLimits.headersMax);
  lastEncoded = { table: table.subarray(0, end), text: Buffer.from(text, 'utf8'), units: text.length, count };
  lastShared = headers;
  return lastEncoded;
}

/** Writes the table rows of headers at `start`; returns the place behind them and the text that belongs to them. */
function putHeaders(
  bytes: Uint8Array,
  start: number,
  headers: Readonly<Record<string, string>>,
  headersMax: number,
): { readonly end: number; readonly text: string; readonly count: number } {
  let end = start;
  let count = 0;
  let text = '';
  for (const name in headers) {
    const content = headers[name] as string;
    if (++count > headersMax) throw invalid(`it has more than ${recordLimits.headersMax} headers`);
    const index = indexOfName.get(name);
    if (index === undefined) {
      if (!namePattern.test(name))
        throw invalid(`its header name '${name.slice(0, 80)}' is not [a-z0-9_]{1,255}`);
      bytes[end++] = 0;
      bytes[end++] = name.length;
      text += name;
    } else {
      bytes[end++] = index;
    }
    // Two bytes: a longer content is refused by the caller, who sees the length of the whole text.
    bytes[end++] = content.length & 0xff;
    bytes[end++] = (content.length >>> 8) & 0xff;
    text += content;
  }
  return { end, text, count };
}

/**
 * Writes a record at `start`.
 * Shape: returns the position behind it. `offsetDelta` counts from the group's first offset of the record's partition.
 * Errors: PULSE_LOG_RECORD_INVALID; bytes from `start` on are then to be ignored.
 */
export function encodeRecord(sink: Sink, start: number, record: LogRecord, offsetDelta: number): number {
  const { headers, value, key } = record;
  if (value.length > recordLimits.valueBytesMax) {
    throw invalid(`its value has ${value.length} bytes; at most ${recordLimits.valueBytesMax} are allowed`);
  }
  sink.reserve(start, recordOverheadBytesMax + value.length);
  let bytes = sink.bytes;
  const shared = record.sharedHeaders === undefined ? noHeaders : encodedOnce(record.sharedHeaders);
  const keyUnits = key === null ? 0 : key.length;
  if (keyUnits > recordLimits.textUnitsMax)
    throw invalid(`its key has ${keyUnits} characters; at most 65536 are allowed`);
  const tableStart = start + recordFixedBytes;
  const own = putHeaders(bytes, tableStart, headers, recordLimits.headersMax - shared.count);
  if (own.text.length + shared.units >= recordLimits.textUnitsMax) {
    const units = own.text.length + shared.units;
    throw invalid(`its headers have ${units} characters; fewer than 65536 are allowed`);
  }
  bytes.set(shared.table, own.end);
  let at = own.end + shared.table.length;
  const text = key === null ? own.text : key + own.text;
  // UTF-8 takes at most three bytes for a UTF-16 unit.
  sink.reserve(at, text.length * 3 + shared.text.length + value.length);
  bytes = sink.bytes;
  const ownTextBytes = text.length === 0 ? 0 : writeText(bytes, text, at);
  at += ownTextBytes;
  bytes.set(shared.text, at);
  at += shared.text.length;
  bytes.set(value, at);
  at += value.length;
  const textBytes = ownTextBytes + shared.text.length;
  const count = own.count + shared.count;
  put32(bytes, start, at - start);
  put32(bytes, start + 4, offsetDelta);
  put32(bytes, start + 8, value.length);
  put32(bytes, start + 12, textBytes);
  put32(bytes, start + 16, keyUnits);
  bytes[start + 20] = record.partition & 0xff;
  bytes[start + 21] = record.partition >>> 8;
  bytes[start + 22] = count;
  bytes[start + 23] = key === null ? 0 : flagHasKey;
  return at;
}

/** Total bytes of the record at `start`. */
export function recordBytesAt(bytes: Buffer, start: number): number {
  return bytes.readUInt32LE(start);
}

export function recordPartitionAt(bytes: Buffer, start: number): number {
  return bytes.readUInt16LE(start + 20);
}

export function recordOffsetDeltaAt(bytes: Buffer, start: number): number {
  return bytes.readUInt32LE(start + 4);
}

/** Reads the record at `start`, inside a group whose checksum was good. `value` is a view. */
export function decodeRecord(
  bytes: Buffer,
  start: number,
  offset: number,
  appendTimeMs: number,
): StoredRecord {
  const end = start + bytes.readUInt32LE(start);
  const valueBytes = bytes.readUInt32LE(start + 8);
  const textBytes = bytes.readUInt32LE(start + 12);
  const keyUnits = bytes.readUInt32LE(start + 16);
  const count = bytes[start + 22] as number;
  const hasKey = ((bytes[start + 23] as number) & flagHasKey) !== 0;
  const valueStart = end - valueBytes;
  const textStart = valueStart - textBytes;
  const text = bytes.toString('utf8', textStart, valueStart);
  const headers: Record<string, string> = {};
  let at = start + recordFixedBytes;
  let unit = keyUnits;
  for (let i = 0; i < count; i++) {
    const index = bytes[at++] as number;
    let name: string;
    if (index === 0) {
      const nameUnits = bytes[at++] as number;
      name = text.slice(unit, unit + nameUnits);
      unit += nameUnits;
    } else {
      name = wellKnownNames[index - 1] as string;
    }
    const units = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
    at += 2;
    const content = text.slice(unit, unit + units);
    unit += units;
    if (name === '__proto__') defineOwn(headers, name, content);
    else headers[name] = content;
  }
  return {
    partition: bytes.readUInt16LE(start + 20),
    key: hasKey ? text.slice(0, keyUnits) : null,
    headers,
    value: bytes.subarray(valueStart, end),
    offset,
    appendTimeMs,
  };
}

/** Plain assignment to `__proto__` would set nothing. */
function defineOwn(target: Record<string, string>, name: string, value: string): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Buffer.write without its checks of arguments, which cost as much as the encoding of a short text: 0.4 µs a record. */
const utf8Write = (Buffer.prototype as { utf8Write?: (text: string, at: number, bytes: number) => number })
  .utf8Write;

function writeText(bytes: Buffer, text: string, at: number): number {
  if (utf8Write === undefined) return bytes.write(text, at, 'utf8');
  return utf8Write.call(bytes, text, at, bytes.length - at);
}

function put32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
  bytes[at + 2] = (value >>> 16) & 0xff;
  bytes[at + 3] = value >>> 24;
}

function invalid(why: string): Error {
  return logError('PULSE_LOG_RECORD_INVALID', `A record was refused because ${why}.`);
}
