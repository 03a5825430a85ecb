// JSON bodies: one event, an array of events, or {"events":[…]}. Also the JSON forms of CloudEvents, which differ in names only.
import type { Protocol } from '../../core/envelope.ts';
import { PulseError } from '../../core/errors.ts';
import { isDeeperThan, skipSpace } from '../../core/json-scan.ts';
import { elementRanges, eventsByName, scanObject } from './json-ranges.ts';
import {
  asAttribute,
  type IncomingEvent,
  own,
  parseJson,
  type SplitBody,
  type SplitLimits,
  tooDeep,
  tooLarge,
} from './split.ts';

const OPEN_BRACKET = 0x5b;
const OPEN_BRACE = 0x7b;

/** Reads the attributes of one parsed event. */
export type ReadEvent = (index: number, value: Buffer, parsed: unknown) => IncomingEvent;

/** What is taken apart: nothing (whatever it is, it is the event), arrays, or arrays and {"events":[…]}. */
export type Shape = 'one' | 'array' | 'array-or-object';

const eventsName = Buffer.from('events');
const BACKSLASH = 0x5c;

/**
 * Splits a native JSON body.
 * Guarantees: nothing is refused that is JSON within the limits; whether it is an event is judged by `process`.
 * Errors: PULSE_COLLECT_BODY_EMPTY, _NOT_UTF8, _NOT_JSON, _TOO_DEEP, _EVENT_TOO_LARGE, _EVENTS_TOO_MANY.
 */
export function splitNative(body: Buffer, shape: Shape, limits: SplitLimits): SplitBody {
  return splitJson(body, shape, limits, 'native', readNative);
}

export function splitJson(
  body: Buffer,
  shape: Shape,
  limits: SplitLimits,
  protocol: Protocol,
  read: ReadEvent,
): SplitBody {
  const start = skipSpace(body, 0);
  let events: IncomingEvent[];
  if (shape !== 'one' && body[start] === OPEN_BRACKET) events = arrayOfEvents(body, start, limits, read);
  else if (shape === 'array-or-object' && body[start] === OPEN_BRACE) {
    events = objectOfEvents(body, start, limits, read);
  } else events = [oneEvent(body, start, limits, read)];
  return { protocol, events, errors: [], headers: null };
}

function oneEvent(body: Buffer, start: number, limits: SplitLimits, read: ReadEvent): IncomingEvent {
  const value = trimmed(body, start);
  if (value.length > limits.eventBytesMax) throw tooLarge(0, value.length, limits.eventBytesMax);
  if (isDeeperThan(value, limits.depthMax)) throw tooDeep(0, limits.depthMax);
  return read(0, value, parseJson(body));
}

function arrayOfEvents(body: Buffer, start: number, limits: SplitLimits, read: ReadEvent): IncomingEvent[] {
  const { ranges } = elementRanges(body, start, limits);
  return readElements(body, ranges, parseJson(body) as readonly unknown[], read);
}

function objectOfEvents(body: Buffer, start: number, limits: SplitLimits, read: ReadEvent): IncomingEvent[] {
  // Without these bytes, and without escapes that could spell them, no member is called `events`: no need to look at names.
  const isShort = body.length <= limits.eventBytesMax;
  if (isShort && body.indexOf(eventsName) === -1 && body.indexOf(BACKSLASH) === -1)
    return [oneEvent(body, start, limits, read)];
  const scanned = scanObject(body, start, limits);
  if (scanned.tooDeep) throw tooDeep(0, limits.depthMax);
  if (scanned.events === null && !scanned.hasEscapedName) {
    const value = trimmed(body, start);
    if (value.length > limits.eventBytesMax) throw tooLarge(0, value.length, limits.eventBytesMax);
    return [read(0, value, parseJson(body))];
  }
  const parsed = parseJson(body) as object;
  const events = scanned.hasEscapedName ? eventsByName(body, start, limits) : scanned.events;
  // An event with a field `events` of its own has a type; a batch has none.
  if (events === null || own(parsed, 'event_type') !== undefined)
    return [oneEvent(body, start, limits, read)];
  if (events instanceof PulseError) throw events;
  return readElements(body, events.ranges, own(parsed, 'events') as readonly unknown[], read);
}

function readElements(
  body: Buffer,
  ranges: readonly number[],
  parsed: readonly unknown[],
  read: ReadEvent,
): IncomingEvent[] {
  if (parsed.length * 2 !== ranges.length) {
    throw new Error(`the scan found ${ranges.length / 2} elements where the parser found ${parsed.length}`);
  }
  const events: IncomingEvent[] = new Array(parsed.length);
  for (let i = 0; i < parsed.length; i++) {
    events[i] = read(i, body.subarray(ranges[i * 2], ranges[i * 2 + 1]), parsed[i]);
  }
  return events;
}

/** The body without white space around its value. */
export function trimmed(body: Buffer, start: number): Buffer {
  let end = body.length;
  while (end > start && isSpace(body[end - 1] as number)) end--;
  return start === 0 && end === body.length ? body : body.subarray(start, end);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function readNative(index: number, value: Buffer, parsed: unknown): IncomingEvent {
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return bare(index, value);
  return {
    index,
    value,
    id: asAttribute(own(parsed, 'event_id')),
    type: asAttribute(own(parsed, 'event_type')),
    source: asAttribute(own(parsed, 'source')),
    time: asAttribute(own(parsed, 'event_time')) ?? asAttribute(own(parsed, 'timestamp')),
    subject: asAttribute(own(parsed, 'subject')),
  };
}

/** An event that names nothing: a number, a string, null, an array. `process` makes it a dead letter. */
export function bare(index: number, value: Buffer): IncomingEvent {
  return { index, value, id: null, type: null, source: null, time: null, subject: null };
}
