// JSON Patch (RFC 6902) on the bytes of an event. No library keeps number tokens: each parses, changes and writes anew.
import { isUtf8 } from 'node:buffer';
import { eventBytesMax, jsonDepthMax } from '../../core/envelope.ts';
import { arrayElements, isDeeperThan, type Range } from '../../core/json-scan.ts';
import { processError } from '../errors.ts';
import * as json from './json-bytes.ts';

const operationsMax = 100;
const patchBytesMax = 262_144;

type Operation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: Pointer; readonly value: Buffer }
  | { readonly op: 'remove'; readonly path: Pointer }
  | { readonly op: 'move' | 'copy'; readonly path: Pointer; readonly from: Pointer };

/** The parts of a JSON Pointer, unescaped; none for the whole document. */
type Pointer = readonly string[];

/** A patch that was read and can be applied any number of times. */
export interface Patch {
  readonly operations: readonly Operation[];
}

/** The patched bytes, or why the patch does not fit this event. */
export type Patched =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly message: string };

/**
 * Reads a patch from its bytes; the values in it are kept as their bytes.
 * Errors: PULSE_PROCESS_PATCH_INVALID, with every mistake that was found.
 */
export function parsePatch(bytes: Buffer): Patch {
  if (bytes.length > patchBytesMax) {
    throw invalid([`the patch has ${bytes.length} bytes; at most ${patchBytesMax} are allowed`]);
  }
  const root = isJson(bytes, jsonDepthMax + 2) ? json.rootOf(bytes) : null;
  if (root === null || json.kindAt(bytes, root.start) !== 'array') {
    throw invalid(['a patch is a JSON array of operations (RFC 6902)']);
  }
  const elements = arrayElements(bytes, root.start);
  if (elements.length === 0 || elements.length > operationsMax) {
    throw invalid([`the patch has ${elements.length} operations; 1 to ${operationsMax} are allowed`]);
  }
  const problems: string[] = [];
  const operations: Operation[] = [];
  for (const [index, element] of elements.entries()) {
    const operation = parseOperation(bytes, element);
    if (typeof operation === 'string') problems.push(`operation ${index}: ${operation}`);
    else operations.push(operation);
  }
  if (problems.length > 0) throw invalid(problems);
  return { operations };
}

function invalid(problems: readonly string[]): Error {
  return processError('PULSE_PROCESS_PATCH_INVALID', `${problems.join('; ')}.`, { details: { problems } });
}

/** The operation, or what is wrong with it. */
function parseOperation(bytes: Buffer, range: Range): Operation | string {
  if (json.kindAt(bytes, range.start) !== 'object') return 'is no object';
  const members = new Map(json.membersOf(bytes, range.start).map((member) => [member.name, member.value]));
  const text = (name: string): string | null => {
    const value = members.get(name);
    if (value === undefined || json.kindAt(bytes, value.start) !== 'string') return null;
    return JSON.parse(bytes.toString('utf8', value.start, value.end)) as string;
  };
  const path = parsePointer(text('path'));
  if (path === null) return 'path is no JSON Pointer (RFC 6901)';
  const op = text('op');
  switch (op) {
    case 'remove':
      return { op, path };
    case 'add':
    case 'replace':
    case 'test': {
      const value = members.get('value');
      if (value === undefined) return `${op} needs a value`;
      // A copy: the patch outlives the request that it came in.
      return { op, path, value: Buffer.from(bytes.subarray(value.start, value.end)) };
    }
    case 'move':
    case 'copy': {
      const from = parsePointer(text('from'));
      return from === null ? `${op} needs from, a JSON Pointer` : { op, path, from };
    }
    default:
      return 'op is none of add, remove, replace, move, copy, test';
  }
}

function parsePointer(text: string | null): Pointer | null {
  if (text === null || (text !== '' && !text.startsWith('/')) || /~(?![01])/.test(text)) return null;
  return text
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/**
 * Applies a patch to the bytes of one event.
 * Guarantees: all operations or none; bytes that no operation names stay as they are, white space and number tokens too. Of members
 * with one name the last counts; `remove` takes all of them. Never grows beyond the largest event.
 */
export function applyPatch(bytes: Buffer, patch: Patch): Patched {
  if (!isJson(bytes, jsonDepthMax))
    return { ok: false, message: 'the event is no JSON, so no patch fits it' };
  let patched = bytes;
  for (const [index, operation] of patch.operations.entries()) {
    const next = apply(patched, operation);
    if (typeof next === 'string') {
      return { ok: false, message: `operation ${index} (${operation.op} ${shown(operation.path)}): ${next}` };
    }
    if (next.length > eventBytesMax) {
      return { ok: false, message: `operation ${index}: the event grows beyond ${eventBytesMax} bytes` };
    }
    patched = next;
  }
  return { ok: true, bytes: patched };
}

/** The bytes after one operation, or why it does not apply. */
function apply(bytes: Buffer, operation: Operation): Buffer | string {
  const { path } = operation;
  switch (operation.op) {
    case 'add':
      return add(bytes, path, operation.value);
    case 'remove':
      return remove(bytes, path);
    case 'replace': {
      const found = find(bytes, path);
      return found === null ? missing : json.splice(bytes, found, operation.value);
    }
    case 'test': {
      const found = find(bytes, path);
      if (found === null) return missing;
      return json.equal(valueBytes(bytes, found), operation.value) ? bytes : 'the value is another one';
    }
    case 'copy': {
      const found = find(bytes, operation.from);
      return found === null ? missingFrom : add(bytes, path, valueBytes(bytes, found));
    }
    case 'move':
      return move(bytes, operation.from, path);
  }
}

const missing = 'there is no such value';
const missingFrom = 'there is no value at from';

function move(bytes: Buffer, from: Pointer, path: Pointer): Buffer | string {
  const found = find(bytes, from);
  if (found === null) return missingFrom;
  if (from.length === path.length && isPrefix(from, path)) return bytes;
  if (isPrefix(from, path)) return 'a value cannot be moved into itself';
  const value = Buffer.from(valueBytes(bytes, found));
  const without = remove(bytes, from);
  return typeof without === 'string' ? without : add(without, path, value);
}

function isPrefix(prefix: Pointer, path: Pointer): boolean {
  return prefix.length <= path.length && prefix.every((part, index) => part === path[index]);
}

function add(bytes: Buffer, path: Pointer, value: Buffer): Buffer | string {
  const name = path.at(-1);
  if (name === undefined) return json.splice(bytes, json.rootOf(bytes), value);
  const parent = find(bytes, path.slice(0, -1));
  if (parent === null) return 'there is nothing to add it to';
  const kind = json.kindAt(bytes, parent.start);
  if (kind === 'object') {
    const existing = json.memberNamed(bytes, parent.start, name);
    return existing === undefined
      ? json.appendMember(bytes, parent.start, name, value)
      : json.splice(bytes, existing.value, value);
  }
  if (kind !== 'array') return 'a value can be added to an object or an array only';
  const { length } = arrayElements(bytes, parent.start);
  const index = name === '-' ? length : indexOf(name);
  if (index === null || index > length) return `the array has ${length} elements`;
  return json.insertElement(bytes, parent.start, index, value);
}

function remove(bytes: Buffer, path: Pointer): Buffer | string {
  const name = path.at(-1);
  if (name === undefined) return 'the whole event cannot be removed';
  const parent = find(bytes, path.slice(0, -1));
  if (parent === null || find(bytes, path) === null) return missing;
  return json.kindAt(bytes, parent.start) === 'object'
    ? json.cutMembers(bytes, parent.start, name)
    : json.cut(bytes, arrayElements(bytes, parent.start), Number(name));
}

/** Where the value at a pointer lies; null when there is none. */
function find(bytes: Buffer, path: Pointer): Range | null {
  let range = json.rootOf(bytes);
  for (const part of path) {
    const kind = json.kindAt(bytes, range.start);
    let next: Range | undefined;
    if (kind === 'object') next = json.memberNamed(bytes, range.start, part)?.value;
    else if (kind === 'array') next = arrayElements(bytes, range.start)[indexOf(part) ?? -1];
    if (next === undefined) return null;
    range = next;
  }
  return range;
}

function indexOf(text: string): number | null {
  return /^(0|[1-9]\d{0,8})$/.test(text) ? Number(text) : null;
}

function valueBytes(bytes: Buffer, range: Range): Buffer {
  return bytes.subarray(range.start, range.end);
}

function shown(path: Pointer): string {
  const text = path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
  return JSON.stringify(text.slice(0, 100));
}

function isJson(bytes: Buffer, depthMax: number): boolean {
  if (!isUtf8(bytes) || isDeeperThan(bytes, depthMax)) return false;
  try {
    JSON.parse(bytes.toString('utf8'));
    return true;
  } catch {
    return false; // That is the answer.
  }
}
