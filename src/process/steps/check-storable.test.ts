// Facts about values that no store can hold exactly.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkStorable } from './check-storable.ts';

function found(text: string): readonly string[] {
  JSON.parse(text);
  return checkStorable({ bytes: Buffer.from(text), text }).map(
    (failure) => `${failure.pointer} ${failure.rule}`,
  );
}

test('finds U+0000 and lone surrogates in strings and names, with their place', () => {
  assert.deepEqual(found('{"a":{"b":["x","\\u0000"]}}'), ['/a/b/1 unicode']);
  assert.deepEqual(found('{"a":"\\ud800","b":"\\udc00x","c":"\\ud83d\\ude00"}'), [
    '/a unicode',
    '/b unicode',
  ]);
  assert.deepEqual(found('{"o":{"\\u0000":1}}'), ['/o unicode']);
  assert.deepEqual(found('{"a~/b":"\\uDEAD"}'), ['/a~0~1b unicode']);
});

test('lets escaped backslashes, ordinary escapes and pairs pass', () => {
  assert.deepEqual(found('{"a":"\\\\u0000","b":"\\u00e9","c":"\\"\\u0041"}'), []);
});

test('sees the first of two members with one name', () => {
  assert.deepEqual(found('{"a":"\\u0000","a":1}'), ['/a unicode']);
});

test('finds numbers that overflow a double or the scale of a numeric', () => {
  assert.deepEqual(found('[1e400,-1e200000,1e308,2.5e-300,1E+0005]'), ['/0 range', '/1 range']);
  assert.deepEqual(found(`{"n":1${'0'.repeat(400)}}`), ['/n range']);
  assert.deepEqual(found('[1e-16383,1e-16384,123e-10000000]'), ['/1 range', '/2 range']);
  assert.deepEqual(found(`[0.${'0'.repeat(16_383)}1]`), ['/0 range']);
});

test('finds a long run of digits wherever it stands', () => {
  for (let before = 0; before < 450; before += 7) {
    assert.deepEqual(
      found(`["${'x'.repeat(before)}",1${'0'.repeat(309)}]`),
      ['/1 range'],
      `behind ${before} characters`,
    );
  }
});

test('keeps big integers and digits inside strings', () => {
  assert.deepEqual(found(`[9007199254740993,${'9'.repeat(300)},"1e400","${'7'.repeat(500)}"]`), []);
});

test('shows at most 50 failures', () => {
  assert.equal(found(`[${Array(200).fill('1e999').join(',')}]`).length, 50);
});
