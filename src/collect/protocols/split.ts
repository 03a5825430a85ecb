// What every protocol hands on: the events of one body, each with its own bytes and the attributes that travel as headers.
import { isUtf8 } from 'node:buffer';
import { attributeCharsMax, type Protocol } from '../../core/envelope.ts';
import { collectError } from '../errors.ts';

/** One event of a request. Attributes are null when the event names none that may stand in a header. */
export interface IncomingEvent {
  /** Place in the request, from 0; of NDJSON the place among the lines that are not blank. */
  readonly index: number;
  /** The event's own bytes without surrounding white space; a view into the body. */
  readonly value: Buffer;
  readonly id: string | null;
  readonly type: string | null;
  readonly source: string | null;
  readonly time: string | null;
  readonly subject: string | null;
}

/** A line that was refused while its neighbours were not. */
export interface LineError {
  readonly index: number;
  readonly code: string;
  readonly detail: string;
  /** JSON Pointer into the event; '' is the event itself. */
  readonly pointer: string;
}

export interface SplitBody {
  readonly protocol: Protocol;
  readonly events: readonly IncomingEvent[];
  readonly errors: readonly LineError[];
  /** Further record headers of a CloudEvents binary request. */
  readonly headers: Readonly<Record<string, string>> | null;
}

export interface SplitLimits {
  readonly eventsMax: number;
  readonly eventBytesMax: number;
  readonly depthMax: number;
}

/**
 * The value of JSON text, given as UTF-8 bytes.
 * Errors: PULSE_COLLECT_BODY_EMPTY, PULSE_COLLECT_NOT_UTF8, PULSE_COLLECT_NOT_JSON.
 */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) {
    throw collectError('PULSE_COLLECT_NOT_UTF8', 'The body holds bytes that are not UTF-8.');
  }
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw collectError('PULSE_COLLECT_NOT_JSON', whyNotJson(bytes, error as Error));
  }
}

function whyNotJson(bytes: Buffer, error: Error): string {
  // RFC 8259 §8.1 forbids senders the byte order mark and lets receivers refuse it.
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    return 'The body starts with a byte order mark, which JSON must not have.';
  }
  return `The body is not JSON: ${error.message.slice(0, 200)}`;
}

export function tooLarge(index: number, sizeBytes: number, limitBytes: number): Error {
  return collectError(
    'PULSE_COLLECT_EVENT_TOO_LARGE',
    `Event ${index} has ${sizeBytes} bytes; ${limitBytes} are allowed.`,
    { details: { index } },
  );
}

export function tooDeep(index: number, depthMax: number): Error {
  return collectError(
    'PULSE_COLLECT_TOO_DEEP',
    `Event ${index} nests deeper than ${depthMax} arrays and objects.`,
    { details: { index } },
  );
}

/**
 * The value when it may stand in a record header as it is, else null: a string of 1 to 512 UTF-16 units without U+0000
 * and without lone surrogates (their UTF-8 form would be that of another string). What is left out here is not lost: the
 * event's bytes hold it, and `process` judges them. An id that passes here passes there, so that the id in the answer is
 * the id of the stored event.
 */
export function asAttribute(value: unknown): string | null {
  if (typeof value !== 'string' || value.length === 0 || value.length > attributeCharsMax) return null;
  return value.includes('\0') || !value.isWellFormed() ? null : value;
}

/** An own member of a parsed object; never one that JavaScript's prototypes bring along. */
export function own(object: object, name: string): unknown {
  return Object.hasOwn(object, name) ? (object as Record<string, unknown>)[name] : undefined;
}
