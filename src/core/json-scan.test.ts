import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { arrayElements, isDeeperThan, objectMembers, skipSpace } from './json-scan.ts';

const fixtures = join(
  import.meta.dirname,
  '..',
  '..',
  'tests',
  'fixtures',
  'json-test-suite',
  'test_parsing',
);

function texts(bytes: Buffer, ranges: Iterable<{ start: number; end: number }>): string[] {
  return [...ranges].map((range) => bytes.toString('utf8', range.start, range.end));
}

test('finds the elements of an array with their own bytes', () => {
  const bytes = Buffer.from(' [ {"a":[1,2]} , "x,]\\"" ,12e3, null,[ ] ] ');
  const found = texts(bytes, arrayElements(bytes, skipSpace(bytes, 0)));
  assert.deepEqual(found, ['{"a":[1,2]}', '"x,]\\""', '12e3', 'null', '[ ]']);
});

test('an empty array has no elements', () => {
  assert.deepEqual(arrayElements(Buffer.from('[ \n ]'), 0), []);
});

test('finds the members of an object, the last of equal names', () => {
  const bytes = Buffer.from('{"a": 1, "b\\u0041\\"" : {"a": 9}, "a" :9007199254740993 }');
  const members = objectMembers(bytes, 0);
  assert.deepEqual([...members.keys()], ['a', 'bA"']);
  assert.deepEqual(texts(bytes, members.values()), ['9007199254740993', '{"a": 9}']);
});

test('strings longer than the short path are skipped whole, whatever they hold', () => {
  const nasty = `${'x'.repeat(47)}\\\\\\"]},${'y'.repeat(100)}\\\\`;
  for (let pad = 0; pad < 60; pad++) {
    const bytes = Buffer.from(`["${'p'.repeat(pad)}${nasty}",7]`);
    assert.equal(texts(bytes, arrayElements(bytes, 0))[1], '7', `pad ${pad}`);
  }
});

test('agrees with JSON.parse on every accepted body of the JSON test suite', () => {
  let compared = 0;
  for (const file of globSync('*.json', { cwd: fixtures })) {
    const bytes = readFileSync(join(fixtures, file));
    let parsed: unknown;
    try {
      parsed = JSON.parse(bytes.toString('utf8'));
    } catch {
      continue;
    }
    const at = skipSpace(bytes, 0);
    if (Array.isArray(parsed)) {
      assert.deepEqual(
        texts(bytes, arrayElements(bytes, at)).map((text) => JSON.parse(text) as unknown),
        parsed,
        file,
      );
      compared++;
    } else if (typeof parsed === 'object' && parsed !== null) {
      const members = objectMembers(bytes, at);
      assert.deepEqual([...members.keys()].sort(), Object.keys(parsed).sort(), file);
      compared++;
    }
  }
  assert.ok(compared > 80, `compared ${compared}`);
});

test('counts nesting outside strings only', () => {
  const nested = (depth: number): Buffer => Buffer.from(`${'['.repeat(depth)}${']'.repeat(depth)}`);
  assert.equal(isDeeperThan(nested(64), 64), false);
  assert.equal(isDeeperThan(nested(65), 64), true);
  assert.equal(isDeeperThan(Buffer.from(`["${'[{'.repeat(500)}"]`), 64), false);
  assert.equal(isDeeperThan(Buffer.from(`[${'[],'.repeat(500)}{}]`), 64), false);
  assert.equal(isDeeperThan(Buffer.from('{"a":'.repeat(100_000)), 64), true);
});
