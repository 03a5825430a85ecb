// Facts about finding values in JSON bytes, checked against JSON.parse on random documents.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrayElements, isDeeperThan, objectMembers, skipValue, skipValueWithin } from './json-scan.ts';

const seed = Number(process.env['PULSE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;

function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const strings = [
  '',
  'a',
  '"',
  '\\',
  '\\"',
  '[{',
  '}]',
  ',:',
  'é😀',
  'x'.repeat(47),
  `${'y'.repeat(60)}\\"`,
  '\\'.repeat(49),
];

// No backslash in names: V8 14 (Node 26.10) reads the name "\"" as "\\" once an object of the same shape had a name "\\".
const names = strings.filter((text) => !text.includes('\\'));

function space(): string {
  return ['', '', '', ' ', '\n\t', '\r'][random(6)] as string;
}

/** A random JSON text with random white space. */
function value(depth: number): string {
  const kind = random(depth > 3 ? 3 : 5);
  if (kind === 0) return ['0', '-1.5e+10', 'true', 'null', '9007199254740993'][random(5)] as string;
  if (kind < 3) return JSON.stringify((strings[random(strings.length)] as string) + random(10));
  const parts = Array.from({ length: random(4) }, () => {
    const inner = `${space()}${value(depth + 1)}${space()}`;
    return kind === 3 ? inner : `${space()}${JSON.stringify(names[random(names.length)])}${space()}:${inner}`;
  });
  return kind === 3 ? `[${parts.join(',')}${space()}]` : `{${parts.join(',')}${space()}}`;
}

test('finds the same elements and members as JSON.parse', (t) => {
  t.diagnostic(`seed ${seed}`);
  for (let run = 0; run < 5_000; run++) {
    const text = value(0);
    const bytes = Buffer.from(`${text} ,`);
    const end = Buffer.byteLength(text);
    assert.equal(skipValue(bytes, 0), end, text);
    assert.equal(skipValueWithin(bytes, 0, 64), end, text);
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null) continue;
    const found = Array.isArray(parsed)
      ? arrayElements(bytes, 0).map(
          ({ start, end: to }) => JSON.parse(bytes.toString('utf8', start, to)) as unknown,
        )
      : Object.fromEntries(
          [...objectMembers(bytes, 0)].map(([name, range]) => [
            name,
            JSON.parse(bytes.toString('utf8', range.start, range.end)) as unknown,
          ]),
        );
    assert.deepEqual(found, parsed, text);
  }
});

test('measures depth exactly, strings aside', () => {
  const nested = (depth: number): Buffer =>
    Buffer.from(`${'[{"[[[":'.repeat(depth / 2)}"]}"${'}]'.repeat(depth / 2)}`);
  for (const depth of [2, 64, 66, 1000]) {
    assert.equal(isDeeperThan(nested(depth), 64), depth > 64);
    assert.equal(skipValueWithin(nested(depth), 0, 64) === -1, depth > 64);
  }
});

test('ends on bytes that are no JSON', () => {
  for (const text of [
    '[',
    '{"a',
    '"\\',
    '[[["\\\\\\"',
    '}',
    ']',
    '[}',
    '{]}',
    '"'.repeat(101),
    '\\'.repeat(99),
  ]) {
    assert.ok(skipValueWithin(Buffer.from(text), 0, 64) >= 0, text);
    assert.ok(skipValue(Buffer.from(text), 0) <= text.length + 1, text);
  }
});
