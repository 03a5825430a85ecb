// Finds the events inside a JSON body before it is parsed: their byte ranges, bounded in count, size and depth.
// Expects any bytes: of text that is not JSON the ranges mean nothing, and parsing it fails afterwards.
import { PulseError } from '../../core/errors.ts';
import { objectMembers, skipSpace, skipValue, skipValueWithin } from '../../core/json-scan.ts';
import { collectError } from '../errors.ts';
import { type SplitLimits, tooDeep, tooLarge } from './split.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** The elements of an array. */
export interface Elements {
  /** Start and end (exclusive) of each element in turn: twice as many numbers as elements. */
  readonly ranges: readonly number[];
  /** Index just behind the array. */
  readonly end: number;
}

/**
 * The byte ranges of the elements of the array at `at`.
 * Errors: PULSE_COLLECT_EVENTS_TOO_MANY, PULSE_COLLECT_EVENT_TOO_LARGE, PULSE_COLLECT_TOO_DEEP.
 */
export function elementRanges(bytes: Buffer, at: number, limits: SplitLimits): Elements {
  const ranges: number[] = [];
  const rangesMax = limits.eventsMax * 2;
  let i = skipSpace(bytes, at + 1);
  if (bytes[i] === CLOSE_BRACKET) return { ranges, end: i + 1 };
  while (i < bytes.length) {
    const end = skipValueWithin(bytes, i, limits.depthMax);
    if (end === -1) throw tooDeep(ranges.length / 2, limits.depthMax);
    if (end - i > limits.eventBytesMax) throw tooLarge(ranges.length / 2, end - i, limits.eventBytesMax);
    if (ranges.length >= rangesMax) {
      throw collectError('PULSE_COLLECT_EVENTS_TOO_MANY', `A request may hold ${limits.eventsMax} events.`);
    }
    ranges.push(i, end);
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) break;
    i = skipSpace(bytes, i + 1);
  }
  return { ranges, end: i + 1 };
}

/** What the scan of an object found. */
export interface ScannedObject {
  /** Index just behind the object. */
  readonly end: number;
  /** Elements of its member `events`, or why they are refused; null when there is no such array. */
  readonly events: Elements | PulseError | null;
  /** True when a member beside `events` nests deeper than an event may. */
  readonly tooDeep: boolean;
  /** True when a name holds a backslash: `events` above may be wrong then, and `eventsByName` says it right. */
  readonly hasEscapedName: boolean;
}

/** Scans the object at `at` once, for the array `events` and for the depth of everything beside it. */
export function scanObject(bytes: Buffer, at: number, limits: SplitLimits): ScannedObject {
  let events: Elements | PulseError | null = null;
  let isTooDeep = false;
  let hasEscapedName = false;
  let i = skipSpace(bytes, at + 1);
  while (i < bytes.length && bytes[i] === QUOTE) {
    const nameStart = i + 1;
    const nameEnd = skipValue(bytes, i) - 1;
    for (let j = nameStart; j < nameEnd; j++) if (bytes[j] === BACKSLASH) hasEscapedName = true;
    i = skipSpace(bytes, nameEnd + 1);
    if (bytes[i] !== COLON) break;
    const start = skipSpace(bytes, i + 1);
    let end: number;
    if (nameEnd - nameStart === 6 && bytes.toString('latin1', nameStart, nameEnd) === 'events') {
      events = bytes[start] === OPEN_BRACKET ? tryElements(bytes, start, limits) : null;
      end = events !== null && 'end' in events ? events.end : skipValue(bytes, start);
    } else {
      end = skipValueWithin(bytes, start, limits.depthMax - 1);
      if (end === -1) isTooDeep = true;
      if (end === -1) end = skipValue(bytes, start);
    }
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) break;
    i = skipSpace(bytes, i + 1);
  }
  return { end: i + 1, events, tooDeep: isTooDeep, hasEscapedName };
}

/**
 * The elements of the array `events` of the object at `at`, by the names as JSON.parse reads them: `\u0065vents` is
 * `events` too. Slow, for objects with escapes in their names, which nobody writes. Expects bytes that are JSON.
 */
export function eventsByName(bytes: Buffer, at: number, limits: SplitLimits): Elements | PulseError | null {
  const range = objectMembers(bytes, at).get('events');
  return range !== undefined && bytes[range.start] === OPEN_BRACKET
    ? tryElements(bytes, range.start, limits)
    : null;
}

/** An event may have a field `events` of its own, which no limit of a batch concerns: so the refusal waits as a value. */
function tryElements(bytes: Buffer, at: number, limits: SplitLimits): Elements | PulseError {
  try {
    return elementRanges(bytes, at, limits);
  } catch (error) {
    if (error instanceof PulseError) return error;
    throw error;
  }
}
