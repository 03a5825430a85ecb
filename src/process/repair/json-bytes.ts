// JSON text as bytes that are cut and joined, never parsed and written anew: whatever is not touched keeps every byte, and numbers
// keep their tokens. Expects bytes that JSON.parse accepts.
import { arrayElements, type Range, skipSpace, skipValue } from '../../core/json-scan.ts';

const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const QUOTE = 0x22;
const COMMA = 0x2c;

/** What kind of value starts at a place. */
export type Kind = 'object' | 'array' | 'string' | 'number' | 'literal';

export function kindAt(bytes: Buffer, at: number): Kind {
  const first = bytes[at] as number;
  if (first === OPEN_BRACE) return 'object';
  if (first === OPEN_BRACKET) return 'array';
  if (first === QUOTE) return 'string';
  return first === 0x2d || (first >= 0x30 && first <= 0x39) ? 'number' : 'literal';
}

/** The value of a whole document, without white space around it. */
export function rootOf(bytes: Buffer): Range {
  const start = skipSpace(bytes, 0);
  return { start, end: skipValue(bytes, start) };
}

/** One member of an object: `start` is the quote of its name, `end` the end of its value. */
export interface Member extends Range {
  readonly name: string;
  readonly value: Range;
}

/** Every member of the object that starts at `at`, in order, repeated names too. */
export function membersOf(bytes: Buffer, at: number): readonly Member[] {
  const members: Member[] = [];
  let i = skipSpace(bytes, at + 1);
  while (bytes[i] === QUOTE) {
    const nameEnd = skipValue(bytes, i);
    const valueStart = skipSpace(bytes, skipSpace(bytes, nameEnd) + 1);
    const end = skipValue(bytes, valueStart);
    members.push({
      name: textOf(bytes, { start: i, end: nameEnd }),
      start: i,
      end,
      value: { start: valueStart, end },
    });
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) break;
    i = skipSpace(bytes, i + 1);
  }
  return members;
}

/** The member that counts: the last one of its name, as with JSON.parse. */
export function memberNamed(bytes: Buffer, at: number, name: string): Member | undefined {
  return membersOf(bytes, at).findLast((member) => member.name === name);
}

/** The bytes with a range replaced. */
export function splice(bytes: Buffer, range: Range, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, range.start), by, bytes.subarray(range.end)]);
}

/** Inserts a value before the element of this number; `index` may be the length. */
export function insertElement(bytes: Buffer, at: number, index: number, value: Buffer): Buffer {
  const elements = arrayElements(bytes, at);
  const following = elements[index];
  const last = elements.at(-1);
  if (following !== undefined) return insert(bytes, following.start, value, comma);
  return last === undefined ? insert(bytes, at + 1, value) : insert(bytes, last.end, comma, value);
}

/** Adds a member at the end of the object that starts at `at`. */
export function appendMember(bytes: Buffer, at: number, name: string, value: Buffer): Buffer {
  const nameBytes = Buffer.from(`${JSON.stringify(name)}:`);
  const last = membersOf(bytes, at).at(-1);
  return last === undefined
    ? insert(bytes, at + 1, nameBytes, value)
    : insert(bytes, last.end, comma, nameBytes, value);
}

/** Cuts one of the parts of a container out, together with the comma that it leaves over. */
export function cut(bytes: Buffer, parts: readonly Range[], index: number): Buffer {
  const part = parts[index] as Range;
  const before = parts[index - 1];
  const after = parts[index + 1];
  if (after !== undefined) return splice(bytes, { start: part.start, end: after.start }, empty);
  return splice(bytes, { start: before?.end ?? part.start, end: part.end }, empty);
}

/** Cuts every member of this name out. */
export function cutMembers(bytes: Buffer, at: number, name: string): Buffer {
  let left = bytes;
  for (;;) {
    const members = membersOf(left, at);
    const index = members.findIndex((member) => member.name === name);
    if (index === -1) return left;
    left = cut(left, members, index);
  }
}

/**
 * Whether two values are equal as RFC 6902 §4.6 says: members in any order, numbers by their exact value (1.10 = 11e-1, but
 * 9007199254740993 ≠ 9007199254740992), strings by their characters.
 */
export function equal(a: Buffer, b: Buffer): boolean {
  return equalAt(a, rootOf(a), b, rootOf(b));
}

function equalAt(a: Buffer, inA: Range, b: Buffer, inB: Range): boolean {
  const kind = kindAt(a, inA.start);
  if (kind !== kindAt(b, inB.start)) return false;
  if (kind === 'object') return equalObjects(a, inA.start, b, inB.start);
  if (kind === 'array') {
    const left = arrayElements(a, inA.start);
    const right = arrayElements(b, inB.start);
    return (
      left.length === right.length &&
      left.every((element, index) => equalAt(a, element, b, right[index] as Range))
    );
  }
  if (kind === 'string') return textOf(a, inA) === textOf(b, inB);
  const left = a.toString('latin1', inA.start, inA.end);
  const right = b.toString('latin1', inB.start, inB.end);
  return left === right || (kind === 'number' && exactNumber(left) === exactNumber(right));
}

function equalObjects(a: Buffer, atA: number, b: Buffer, atB: number): boolean {
  const left = new Map(membersOf(a, atA).map((member) => [member.name, member.value]));
  const right = new Map(membersOf(b, atB).map((member) => [member.name, member.value]));
  if (left.size !== right.size) return false;
  for (const [name, value] of left) {
    const other = right.get(name);
    if (other === undefined || !equalAt(a, value, b, other)) return false;
  }
  return true;
}

/** One text for each exact decimal value: sign, significant digits, and the power of ten of the last one. */
function exactNumber(token: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token);
  if (match === null) return token;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length);
  return `${sign}${significant}e${power}`;
}

function textOf(bytes: Buffer, range: Range): string {
  return JSON.parse(bytes.toString('utf8', range.start, range.end)) as string;
}

const empty = Buffer.alloc(0);
const comma = Buffer.from(',');

function insert(bytes: Buffer, at: number, ...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([bytes.subarray(0, at), ...parts, bytes.subarray(at)]);
}
