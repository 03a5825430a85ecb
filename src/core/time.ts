// The one parser of times: whatever else reads a time string (Postgres, DuckDB, Date) gets what this file has written.
// Postgres and JavaScript disagree on 23:59:60, infinity, year 0000 and +275760; here such input has one answer.

/** 0001-01-01T00:00:00.000Z in milliseconds since the epoch: the earliest time that Pulse accepts. */
export const timeMsMin = -62_135_596_800_000;
/** 9999-12-31T23:59:59.999Z: the latest time that Pulse accepts. */
export const timeMsMax = 253_402_300_799_999;
/** Numbers at or beyond this (either sign) are milliseconds since the epoch, numbers below it are seconds. */
const epochMsFrom = 100_000_000_000;

/** A time, or why it is none. `rule` is `type`, `format` or `range`. */
export type TimeResult =
  | { readonly ok: true; readonly timeMs: number }
  | { readonly ok: false; readonly rule: 'type' | 'format' | 'range'; readonly message: string };

const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
// Far above any sensible time string, and a bound on what a hostile fraction can cost.
const timeCharsMax = 128;

/**
 * Reads an RFC 3339 string or an epoch number.
 * Units and ranges: milliseconds since the epoch, from 0001 to 9999 in UTC. Digits beyond milliseconds are cut off, never
 * rounded, so that a time never moves into the next window. Numbers from ±1e11 on are milliseconds (1973 and later),
 * smaller ones are seconds, with fractions allowed (until the year 5138).
 * Guarantees: a leap second (23:59:60 UTC on 30 June or 31 December) becomes the last millisecond of its day, so it stays
 * in its day and minute; any other :60 is refused. A string without an offset is refused: guessing a zone moves events silently.
 * Source: RFC 3339 §5.6, §5.7.
 */
export function parseTime(value: unknown): TimeResult {
  if (typeof value === 'string') return parseTimeText(value);
  if (typeof value === 'number') return parseEpoch(value);
  return failure('type', 'must be an RFC 3339 string or an epoch number in seconds or milliseconds');
}

/**
 * Writes ISO 8601 in UTC with milliseconds. Only for times inside the bounds of `parseTime`.
 * Cost: times of one day share its date, which makes it several times as fast as Date for the times of one batch.
 */
export function formatTime(timeMs: number): string {
  const day = Math.floor(timeMs / dayMs);
  if (day !== formattedDay) {
    formattedDate = new Date(day * dayMs).toISOString().slice(0, 11);
    formattedDay = day;
  }
  const ms = timeMs - day * dayMs;
  const minutes = Math.floor(ms / 60_000);
  const inMinute = ms - minutes * 60_000;
  const seconds = Math.floor(inMinute / 1000);
  const hours = Math.floor(minutes / 60);
  const fraction = inMinute - seconds * 1000;
  return `${formattedDate}${two(hours)}:${two(minutes - hours * 60)}:${two(seconds)}.${fraction < 100 ? '0' : ''}${two(fraction)}Z`;
}

const dayMs = 86_400_000;
let formattedDay = Number.NaN;
let formattedDate = '';

function two(value: number): string {
  return value < 10 ? `0${value}` : `${value}`;
}

function parseEpoch(value: number): TimeResult {
  if (!Number.isFinite(value)) return failure('range', 'is no finite number');
  return inRange(Math.trunc(Math.abs(value) >= epochMsFrom ? value : secondsToMs(value)));
}

/** 1760000000.123 × 1000 is 1760000000122.9999 in floating point: round at the microsecond before cutting. */
function secondsToMs(seconds: number): number {
  return Math.round(seconds * 1_000_000) / 1000;
}

function parseTimeText(text: string): TimeResult {
  const quick = parseCanonical(text);
  if (quick !== null) return quick;
  const match = text.length > timeCharsMax ? null : rfc3339.exec(text);
  if (match === null)
    return failure('format', `${shown(text)} is no RFC 3339 time such as 2026-01-31T12:00:00.000Z`);
  const year = Number(match[1]);
  const month = Number(match[2]);
  const day = Number(match[3]);
  const hour = Number(match[4]);
  const minute = Number(match[5]);
  const second = Number(match[6]);
  const offsetMinutes = offsetOf(match);
  if (
    offsetMinutes === null ||
    month < 1 ||
    month > 12 ||
    day < 1 ||
    day > daysInMonth(year, month) ||
    hour > 23 ||
    minute > 59 ||
    second > 60
  ) {
    return failure('format', `${shown(text)} names no real day, time or offset`);
  }
  const minuteMs =
    daysSinceEpoch(year, month, day) * dayMs + hour * 3_600_000 + (minute - offsetMinutes) * 60_000;
  if (second === 60) return leapSecond(text, minuteMs);
  return inRange(minuteMs + second * 1000 + fractionMs(match[7]));
}

let canonicalDate = '';
let canonicalDayMs = 0;

/** Exactly what `formatTime` writes, on a day that was read before; null for all else. Most times are of this form and day. */
function parseCanonical(text: string): TimeResult | null {
  if (text.length !== 24 || text.charCodeAt(23) !== 0x5a || text.charCodeAt(19) !== 0x2e) return null;
  if (text.charCodeAt(13) !== 0x3a || text.charCodeAt(16) !== 0x3a) return null;
  const date = text.slice(0, 11);
  if (date !== canonicalDate) {
    const start = parseTimeText(`${date}00:00:00Z`);
    if (!start.ok) return null;
    canonicalDate = date;
    canonicalDayMs = start.timeMs;
  }
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  const second = digits(text, 17, 19);
  const ms = digits(text, 20, 23);
  if (!(hour <= 23 && minute <= 59 && second <= 59 && ms <= 999)) return null;
  return { ok: true, timeMs: canonicalDayMs + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms };
}

/** The number that the digits spell; NaN when one of them is no digit. */
function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

function leapSecond(text: string, minuteMs: number): TimeResult {
  const next = new Date(minuteMs + 60_000);
  const isDayStart = (minuteMs + 60_000) % 86_400_000 === 0;
  const isHalfYearStart = next.getUTCDate() === 1 && (next.getUTCMonth() === 0 || next.getUTCMonth() === 6);
  if (!isDayStart || !isHalfYearStart) return failure('format', `${shown(text)} is no leap second`);
  return inRange(minuteMs + 59_999);
}

/** Minutes east of UTC; null when the offset is no offset. */
function offsetOf(match: RegExpExecArray): number | null {
  if (match[8] === undefined) return 0;
  const hours = Number(match[9]);
  const minutes = Number(match[10]);
  if (hours > 23 || minutes > 59) return null;
  return (match[8] === '-' ? -1 : 1) * (hours * 60 + minutes);
}

function fractionMs(digits: string | undefined): number {
  return digits === undefined ? 0 : Number(digits.slice(0, 3).padEnd(3, '0'));
}

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

function daysInMonth(year: number, month: number): number {
  const isLeapYear = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 && isLeapYear ? 29 : (monthDays[month - 1] as number);
}

/** Days from 1970-01-01 in the proleptic Gregorian calendar. `Date.UTC` cannot: it moves the years 0 to 99 to 1900. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  // Years run from March, so that the leap day is the last of its year.
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

function inRange(timeMs: number): TimeResult {
  if (timeMs >= timeMsMin && timeMs <= timeMsMax) return { ok: true, timeMs: timeMs + 0 };
  return failure('range', 'lies outside 0001-01-01 to 9999-12-31');
}

function failure(rule: 'type' | 'format' | 'range', message: string): TimeResult {
  return { ok: false, rule, message };
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
