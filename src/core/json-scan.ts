// Finds values inside JSON bytes without parsing them, so that an event's own bytes can be kept exactly.
// Every function here expects bytes that JSON.parse has already accepted (or whose rejection does not matter).

/** A byte range, end exclusive. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Index of the first byte at or after `at` that is no JSON white space. */
export function skipSpace(bytes: Buffer, at: number): number {
  let i = at;
  while (i < bytes.length && isSpace(bytes[i] as number)) i++;
  return i;
}

/** Index just behind the value that starts at `at` (no leading white space). */
export function skipValue(bytes: Buffer, at: number): number {
  const first = bytes[at];
  if (first === QUOTE) return skipString(bytes, at);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return skipContainer(bytes, at, depthUnlimited);
  let i = at;
  while (i < bytes.length) {
    const byte = bytes[i] as number;
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte)) break;
    i++;
  }
  return i;
}

/** As skipValue, but -1 when the value nests arrays and objects deeper than `depthMax`; also for bytes that are no JSON. */
export function skipValueWithin(bytes: Buffer, at: number, depthMax: number): number {
  const first = bytes[at];
  return first === OPEN_BRACE || first === OPEN_BRACKET
    ? skipContainer(bytes, at, depthMax)
    : skipValue(bytes, at);
}

const depthUnlimited = 0x7fffffff;
const plain = 0;
const quote = 1;
const open = 2;
// One look-up per byte instead of up to five comparisons: this loop sees every byte of every batch.
const kinds = new Uint8Array(256);
kinds[QUOTE] = quote;
kinds[OPEN_BRACE] = open;
kinds[OPEN_BRACKET] = open;
kinds[CLOSE_BRACE] = 3;
kinds[CLOSE_BRACKET] = 3;

function skipContainer(bytes: Buffer, at: number, depthMax: number): number {
  const { length } = bytes;
  let depth = 0;
  let i = at;
  while (i < length) {
    const kind = kinds[bytes[i] as number];
    i++;
    if (kind === plain) continue;
    if (kind === quote) {
      // Short strings are stepped through right here: a call for each costs as much as the stepping.
      const near = Math.min(length, i + stepsMax);
      let isOpen = true;
      while (isOpen && i < near) {
        const byte = bytes[i] as number;
        i += byte === BACKSLASH ? 2 : 1;
        isOpen = byte !== QUOTE;
      }
      if (isOpen) i = skipStringFrom(bytes, i);
    } else if (kind === open) {
      depth++;
      if (depth > depthMax) return -1;
    } else {
      depth--;
      if (depth === 0) return i;
    }
  }
  return length;
}

/** Strings inside events are mostly short: up to here, stepping byte by byte beats a native indexOf call per string. */
const stepsMax = 48;

/** Index just behind the string whose opening quote is at `at`. */
function skipString(bytes: Buffer, at: number): number {
  let i = at + 1;
  const limit = Math.min(bytes.length, i + stepsMax);
  while (i < limit) {
    const byte = bytes[i] as number;
    if (byte === QUOTE) return i + 1;
    if (byte === BACKSLASH) i++;
    i++;
  }
  if (i >= bytes.length) return bytes.length;
  return skipStringFrom(bytes, i);
}

/** Like skipString with native search, from a place inside the string that is not behind a backslash. */
function skipStringFrom(bytes: Buffer, at: number): number {
  let i = at;
  for (;;) {
    const quote = bytes.indexOf(QUOTE, i);
    if (quote === -1) return bytes.length;
    let slashes = 0;
    while (quote - 1 - slashes >= at && bytes[quote - 1 - slashes] === BACKSLASH) slashes++;
    i = quote + 1;
    if (slashes % 2 === 0) return i;
  }
}

/**
 * The byte ranges of the elements of the array that starts at `at`, in order, without surrounding white space.
 */
export function arrayElements(bytes: Buffer, at: number): Range[] {
  const ranges: Range[] = [];
  let i = skipSpace(bytes, at + 1);
  if (bytes[i] === CLOSE_BRACKET) return ranges;
  while (i < bytes.length) {
    const end = skipValue(bytes, i);
    ranges.push({ start: i, end });
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) break;
    i = skipSpace(bytes, i + 1);
  }
  return ranges;
}

/**
 * The byte ranges of the values of the object that starts at `at`, by member name.
 * Guarantees: of members with the same name the last one counts, as with JSON.parse.
 */
export function objectMembers(bytes: Buffer, at: number): Map<string, Range> {
  const members = new Map<string, Range>();
  let i = skipSpace(bytes, at + 1);
  while (i < bytes.length && bytes[i] === QUOTE) {
    const nameEnd = skipString(bytes, i);
    const name = memberName(bytes, i, nameEnd);
    i = skipSpace(bytes, nameEnd);
    if (bytes[i] !== COLON) break;
    const start = skipSpace(bytes, i + 1);
    const end = skipValue(bytes, start);
    members.set(name, { start, end });
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) break;
    i = skipSpace(bytes, i + 1);
  }
  return members;
}

function memberName(bytes: Buffer, start: number, end: number): string {
  const raw = bytes.toString('utf8', start + 1, end - 1);
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/**
 * True when arrays and objects nest deeper than `depthMax`.
 * Cost: events with few brackets are settled by counting them; only suspicious bytes are walked.
 */
export function isDeeperThan(bytes: Buffer, depthMax: number): boolean {
  let opens = 0;
  for (const byte of [OPEN_BRACE, OPEN_BRACKET]) {
    let i = bytes.indexOf(byte);
    while (i !== -1 && opens <= depthMax) {
      opens++;
      i = bytes.indexOf(byte, i + 1);
    }
  }
  return opens > depthMax && walkDepth(bytes, depthMax);
}

function walkDepth(bytes: Buffer, depthMax: number): boolean {
  let depth = 0;
  let i = 0;
  while (i < bytes.length) {
    const byte = bytes[i] as number;
    if (byte === QUOTE) {
      i = skipString(bytes, i);
      continue;
    }
    i++;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++;
      if (depth > depthMax) return true;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
  }
  return false;
}
