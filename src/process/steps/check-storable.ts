// Step 4: are there values that JSON allows and no store behind us can hold? jsonb refuses \u0000, lone surrogates and numbers
// beyond its numeric; a double cannot hold 1e400. One such value must not fail its neighbours' batch.
import type { Failure } from '../../core/outcome.ts';

const failuresMax = 50;
/** Postgres numeric: at most this many digits behind the point. */
const scaleDigitsMax = 16_383;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const COLON = 0x3a;
const LOWER_U = 0x75;

// Without an exponent of three digits or a run of 200 digits no JSON number leaves the range of a double.
const longExponent = /[0-9][eE][+-]?[0-9]{3}/;
// The same behind what a number can follow: hexadecimal ids such as "3e1234" are common and no numbers.
const longExponentOfNumber = /(?:^|[\s:,[])-?[0-9.]+[eE][+-]?[0-9]{3}/;
const digitsMax = 200;

function hasSuspiciousNumber(text: string): boolean {
  return (longExponent.test(text) && longExponentOfNumber.test(text)) || hasLongDigits(text);
}

/** True when 200 digits follow each other. Looks at each 200th character only: a longer run must meet one of them. */
function hasLongDigits(text: string): boolean {
  for (let at = digitsMax - 1; at < text.length; at += digitsMax) {
    let from = at;
    while (isDigit(text.charCodeAt(from))) from--;
    if (from === at) continue;
    let to = at;
    while (isDigit(text.charCodeAt(to))) to++;
    if (to - from > digitsMax) return true;
  }
  return false;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/**
 * Finds every value that a store cannot hold exactly: at most 50.
 * Cost: clean events are settled by three quick searches; only events with a `\u` escape or a long number are walked.
 * `json` is text that JSON.parse has accepted. Numbers are judged as written, so big integers stay exact and pass.
 */
export function checkStorable(json: { readonly bytes: Buffer; readonly text: string }): readonly Failure[] {
  if (!json.text.includes('\\u') && !hasSuspiciousNumber(json.text)) return [];
  return new Walker(json.bytes).failures();
}

/** True when a string holds U+0000 or a lone surrogate. */
export function isUnstorableText(text: string): boolean {
  return text.includes('\0') || !text.isWellFormed();
}

/** Walks valid JSON and keeps the path; unlike JSON.parse it sees every one of several members with the same name. */
class Walker {
  readonly #bytes: Buffer;
  readonly #failures: Failure[] = [];
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  failures(): readonly Failure[] {
    this.#value('');
    return this.#failures;
  }

  // Recursion is safe: parse has refused everything nested deeper than 64.
  #value(pointer: string): void {
    this.#skip();
    const byte = this.#bytes[this.#at];
    if (byte === OPEN_BRACE) this.#members(pointer, true);
    else if (byte === OPEN_BRACKET) this.#members(pointer, false);
    else if (byte === QUOTE) this.#string(pointer, 'string');
    else this.#scalar(pointer);
  }

  #members(pointer: string, isObject: boolean): void {
    this.#at++;
    for (let index = 0; ; index++) {
      this.#skip();
      const byte = this.#bytes[this.#at];
      if (byte === undefined || byte === 0x7d || byte === 0x5d) break;
      if (!isObject) {
        this.#value(`${pointer}/${index}`);
        continue;
      }
      const name = this.#string(pointer, 'name');
      this.#skip();
      this.#value(`${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`);
    }
    this.#at++;
  }

  /** Steps over white space, commas and colons: the text is known to be valid. */
  #skip(): void {
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09 && byte !== 0x2c && byte !== COLON)
        return;
      this.#at++;
    }
  }

  /** Checks the string at the cursor and returns it. A name's failure points at the object that holds it. */
  #string(pointer: string, kind: 'string' | 'name'): string {
    const start = this.#at;
    let hasUnicodeEscape = false;
    this.#at++;
    while (this.#at < this.#bytes.length && this.#bytes[this.#at] !== QUOTE) {
      if (this.#bytes[this.#at] === BACKSLASH) {
        this.#at++;
        if (this.#bytes[this.#at] === LOWER_U) hasUnicodeEscape = true;
      }
      this.#at++;
    }
    this.#at++;
    if (kind === 'string' && !hasUnicodeEscape) return '';
    const text = JSON.parse(this.#bytes.toString('utf8', start, this.#at)) as string;
    if (hasUnicodeEscape && isUnstorableText(text)) {
      const problem = text.includes('\0') ? 'U+0000' : 'a lone surrogate';
      this.#fail(pointer, 'unicode', `${kind === 'name' ? 'a member name' : 'the string'} holds ${problem}`);
    }
    return text.toWellFormed().replaceAll('\0', '\ufffd');
  }

  #scalar(pointer: string): void {
    const start = this.#at;
    while (this.#at < this.#bytes.length && !isEnd(this.#bytes[this.#at] as number)) this.#at++;
    const token = this.#bytes.toString('latin1', start, this.#at);
    // A value must be consumed even when a defect led here, or the walk would never end.
    if (token === '') this.#at++;
    if (token === 'true' || token === 'false' || token === 'null') return;
    if (!Number.isFinite(Number(token)))
      this.#fail(pointer, 'range', `${shown(token)} is beyond a 64-bit float`);
    else if (scaleOf(token) > scaleDigitsMax) {
      this.#fail(pointer, 'range', `${shown(token)} has more than ${scaleDigitsMax} digits behind the point`);
    }
  }

  #fail(pointer: string, rule: string, message: string): void {
    if (this.#failures.length < failuresMax)
      this.#failures.push({ pointer: pointer.slice(0, 1000), rule, message });
  }
}

function isEnd(byte: number): boolean {
  return (
    byte === 0x2c ||
    byte === 0x7d ||
    byte === 0x5d ||
    byte === 0x20 ||
    byte === 0x0a ||
    byte === 0x0d ||
    byte === 0x09
  );
}

/** Digits behind the decimal point of a number as Postgres counts them: fraction digits minus exponent. */
function scaleOf(token: string): number {
  const match = /^-?\d+(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token);
  return (match?.[1]?.length ?? 0) - Number(match?.[2] ?? 0);
}

function shown(token: string): string {
  return token.length > 40 ? `${token.slice(0, 40)}…` : token;
}
