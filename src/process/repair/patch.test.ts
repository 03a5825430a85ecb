// Facts about JSON Patch on bytes: what is kept exactly, and that parsed values agree with a reference on parsed values.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode } from '../../core/errors.ts';
import { applyPatch, parsePatch } from './patch.ts';

function patched(event: string, ...operations: readonly (object | string)[]): string {
  const texts = operations.map((one) => (typeof one === 'string' ? one : JSON.stringify(one)));
  const result = applyPatch(Buffer.from(event), parsePatch(Buffer.from(`[${texts.join(',')}]`)));
  return result.ok ? result.bytes.toString() : `failed: ${result.message}`;
}

describe('a patch on bytes', () => {
  test('keeps number tokens, white space, key order and escapes of everything it does not name', () => {
    const event =
      '{ "big":9007199254740993,\n "price": 1.10, "text":"\\u00e9\\/", "type":5, "list":[1e2 , 2.00] }';
    assert.equal(
      patched(event, { op: 'replace', path: '/type', value: 'a' }),
      event.replace('"type":5', '"type":"a"'),
    );
    assert.equal(patched(event, { op: 'remove', path: '/list/0' }), event.replace('1e2 , ', ''));
  });

  test('keeps the number tokens of its own values, and of what it moves and copies', () => {
    assert.equal(
      patched('{"a":1.10,"b":{}}', '{"op":"add","path":"/n","value":[9007199254740993, 1.10]}', {
        op: 'move',
        from: '/a',
        path: '/b/c',
      }),
      '{"b":{"c":1.10},"n":[9007199254740993, 1.10]}',
    );
    assert.equal(patched('{"a":1.0}', { op: 'copy', from: '/a', path: '/b' }), '{"a":1.0,"b":1.0}');
  });

  const cases: readonly (readonly [event: string, operation: object, result: string])[] = [
    ['{}', { op: 'add', path: '/a', value: 1 }, '{"a":1}'],
    ['{ }', { op: 'add', path: '/a~1b~0', value: null }, '{"a/b~":null }'],
    ['[]', { op: 'add', path: '/-', value: 1 }, '[1]'],
    ['[1,3]', { op: 'add', path: '/1', value: 2 }, '[1,2,3]'],
    ['[1]', { op: 'add', path: '/2', value: 2 }, 'failed: operation 0 (add "/2"): the array has 1 elements'],
    ['[1, 2 ,3]', { op: 'remove', path: '/2' }, '[1, 2]'],
    ['[1]', { op: 'remove', path: '/0' }, '[]'],
    ['{"a":1,"b":2,"a":3}', { op: 'remove', path: '/a' }, '{"b":2}'],
    ['{"a":1,"a":2}', { op: 'replace', path: '/a', value: 3 }, '{"a":1,"a":3}'],
    [
      '{"a":1}',
      { op: 'replace', path: '/b', value: 3 },
      'failed: operation 0 (replace "/b"): there is no such value',
    ],
    [
      '{"a":{"b":1}}',
      { op: 'move', from: '/a', path: '/a/b' },
      'failed: operation 0 (move "/a/b"): a value cannot be moved into itself',
    ],
    [
      '{"a":1}',
      { op: 'remove', path: '' },
      'failed: operation 0 (remove ""): the whole event cannot be removed',
    ],
    [' {"a":1} ', { op: 'replace', path: '', value: [2] }, ' [2] '],
    ['{"__proto__":1}', { op: 'replace', path: '/__proto__', value: 2 }, '{"__proto__":2}'],
    [
      '{"a":1}',
      { op: 'add', path: '/a/b', value: 2 },
      'failed: operation 0 (add "/a/b"): a value can be added to an object or an array only',
    ],
    [
      '{"a":[1]}',
      { op: 'replace', path: '/a/01', value: 2 },
      'failed: operation 0 (replace "/a/01"): there is no such value',
    ],
    ['{broken', { op: 'add', path: '/a', value: 1 }, 'failed: the event is no JSON, so no patch fits it'],
  ];
  for (const [event, operation, result] of cases) {
    test(`${JSON.stringify(operation)} on ${event}`, () => assert.equal(patched(event, operation), result));
  }

  test('tests numbers by their exact value and members in any order', () => {
    const isEqual = (a: string, b: string): boolean =>
      !patched(`{"v":${a}}`, `{"op":"test","path":"/v","value":${b}}`).startsWith('failed');
    for (const [a, b] of [
      ['1.10', '11e-1'],
      ['0', '-0.0'],
      ['100', '1E2'],
      ['"\\u0061"', '"a"'],
      ['{"a":1,"b":[2.0]}', '{ "b":[2],"a":1.0}'],
    ] as const) {
      assert.ok(isEqual(a, b), `${a} = ${b}`);
    }
    for (const [a, b] of [
      ['9007199254740993', '9007199254740992'],
      ['1', '"1"'],
      ['[1,2]', '[2,1]'],
      ['{"a":1}', '{}'],
      ['null', 'false'],
    ] as const) {
      assert.ok(!isEqual(a, b), `${a} ≠ ${b}`);
    }
  });

  test('changes nothing when a later operation fails, and never grows beyond an event', () => {
    assert.match(
      patched('{"a":1}', { op: 'remove', path: '/a' }, { op: 'test', path: '/a', value: 1 }),
      /^failed: operation 1/,
    );
    const copies = Array.from({ length: 60 }, () => ({ op: 'copy', from: '', path: '/-' }));
    assert.match(patched('[1]', ...copies), /^failed: operation \d+/);
  });

  test('is refused as a whole with every mistake', () => {
    const text =
      '[{"op":"add","path":"a"},{"op":"jump","path":""},{"op":"add","path":""},{"op":"move","path":"/a"},7,{"op":"remove","path":"/~2"}]';
    assert.throws(
      () => parsePatch(Buffer.from(text)),
      (error) =>
        hasCode(error, 'PULSE_PROCESS_PATCH_INVALID') &&
        (error.details?.['problems'] as unknown[] | undefined)?.length === 6,
    );
    for (const bad of ['{}', '[]', 'x', '']) assert.throws(() => parsePatch(Buffer.from(bad)));
  });
});

type Value = null | boolean | number | string | Value[] | { [name: string]: Value };

/** A small generator whose every draw follows from its seed. */
function drawing(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function draw(next: (below: number) => number, depth: number): Value {
  const kind = next(depth > 0 ? 7 : 4);
  if (kind === 0) return null;
  if (kind === 1) return next(2) === 0;
  if (kind === 2) return next(1000) / 8;
  if (kind === 3) return ['', 'a', 'é"\\', '{}[],:'][next(4)] as string;
  if (kind === 4) return Array.from({ length: next(4) }, () => draw(next, depth - 1));
  return Object.fromEntries(
    Array.from({ length: next(4) }, () => [['a', 'b', 'c/d', '~'][next(4)], draw(next, depth - 1)]),
  );
}

/** JSON text of a value with white space strewn in. */
function write(next: (below: number) => number, value: Value): string {
  const space = (): string => ['', ' ', '\n\t'][next(3)] as string;
  if (Array.isArray(value))
    return `[${space()}${value.map((one) => write(next, one) + space()).join(`,${space()}`)}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, one]) => `${JSON.stringify(name)}${space()}:${space()}${write(next, one)}${space()}`,
  );
  return `{${space()}${members.join(`,${space()}`)}}`;
}

function pointers(value: Value, prefix = ''): string[] {
  if (typeof value !== 'object' || value === null) return [prefix];
  const inner = Object.entries(value).flatMap(([name, one]) =>
    pointers(one, `${prefix}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`),
  );
  return [prefix, ...inner, `${prefix}/${Array.isArray(value) ? '-' : 'new'}`, `${prefix}/0`];
}

interface Op {
  op: string;
  path: string;
  from?: string;
  value?: Value;
}

/** The reference: one operation on parsed values; throws when it does not apply. */
function reference(root: Value, operation: Op): Value {
  const parts = (pointer: string): string[] =>
    pointer
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const get = (pointer: string): Value => {
    let value = root;
    for (const part of parts(pointer)) {
      if (
        typeof value !== 'object' ||
        value === null ||
        !Object.hasOwn(value, part) ||
        (Array.isArray(value) && part === 'length')
      )
        throw new Error('missing');
      value = (value as Record<string, Value>)[part] as Value;
    }
    return value;
  };
  const parent = (pointer: string): { holder: Value[] | Record<string, Value>; name: string } => {
    const all = parts(pointer);
    const name = all.pop() as string;
    const holder = get(all.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join(''));
    if (typeof holder !== 'object' || holder === null) throw new Error('no container');
    return { holder: holder as Value[], name };
  };
  const put = (pointer: string, value: Value): Value => {
    if (pointer === '') return value;
    const { holder, name } = parent(pointer);
    if (!Array.isArray(holder)) holder[name] = value;
    else {
      const index = name === '-' ? holder.length : Number(name);
      if (!Number.isInteger(index) || index > holder.length) throw new Error('index');
      holder.splice(index, 0, value);
    }
    return root;
  };
  const drop = (pointer: string): void => {
    if (pointer === '') throw new Error('root');
    get(pointer);
    const { holder, name } = parent(pointer);
    if (Array.isArray(holder)) holder.splice(Number(name), 1);
    else delete holder[name];
  };
  const { op, path, from = '' } = operation;
  if (op === 'add') return put(path, structuredClone(operation.value as Value));
  if (op === 'remove') drop(path);
  else if (op === 'replace') {
    get(path);
    if (path === '') return structuredClone(operation.value as Value);
    const { holder, name } = parent(path);
    (holder as Record<string, Value>)[name] = structuredClone(operation.value as Value);
  } else if (op === 'copy') return put(path, structuredClone(get(from)));
  else if (op === 'move') {
    const value = get(from);
    if (path === from) return root;
    if (path.startsWith(`${from}/`)) throw new Error('into itself');
    drop(from);
    return put(path, value);
  } else assert.deepEqual(get(path), operation.value);
  return root;
}

test('random patches give the values that a reference gives', () => {
  const seed = Number(process.env['PULSE_TEST_SEED'] ?? 20261121);
  let applied = 0;
  for (let run = 0; run < 3000; run++) {
    const next = drawing(seed + run);
    const event = draw(next, 3);
    const places = pointers(event);
    const place = (): string => places[next(places.length)] as string;
    const operations: Op[] = Array.from({ length: 1 + next(3) }, () => {
      const op = ['add', 'remove', 'replace', 'move', 'copy', 'test'][next(6)] as string;
      return { op, path: place(), from: place(), value: draw(next, 2) };
    });
    let expected: Value | undefined = structuredClone(event);
    try {
      for (const operation of operations) expected = reference(expected as Value, operation);
    } catch {
      expected = undefined;
    }
    const result = patched(write(next, event), ...operations);
    const shown = `seed ${seed + run}: ${JSON.stringify(operations)} on ${JSON.stringify(event)} gave ${result}`;
    if (expected === undefined) assert.match(result, /^failed/, shown);
    else {
      applied++;
      assert.deepEqual(JSON.parse(result), JSON.parse(JSON.stringify(expected)), shown);
    }
  }
  assert.ok(applied > 500, `${applied} patches applied`);
});
