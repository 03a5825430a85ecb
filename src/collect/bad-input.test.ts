// Bad input over a real HTTP server: refused with a 4xx and nothing stored; neighbours and the process unaffected.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { type CollectServer, rawTopic, startCollect } from '../../tests/support/collect-server.ts';

const suite = join(import.meta.dirname, '..', '..', 'tests', 'fixtures', 'json-test-suite', 'test_parsing');
const ok = '{"event_id":"ok","event_type":"t"}';

async function assertRefused(
  server: CollectServer,
  body: string | Buffer,
  status: number,
  headers: Record<string, string> = {},
): Promise<void> {
  const before = server.log.all(rawTopic).length;
  const answer = await server.post('/v1/collect', body, headers);
  assert.equal(answer.status, status, answer.text.slice(0, 300));
  assert.match(answer.json.code, /^PULSE_/);
  assert.equal(server.log.all(rawTopic).length, before);
}

test('treats the 318 bodies of the JSON test suite as they are named', async (t) => {
  const server = await startCollect(t);
  const files = readdirSync(suite).filter((file) => file.endsWith('.json'));
  assert.equal(files.length, 318);
  for (const path of ['/v1/collect', '/events']) {
    for (const file of files) {
      const before = server.log.all(rawTopic).length;
      const { status } = await server.post(path, readFileSync(join(suite, file)));
      const stored = server.log.all(rawTopic).length - before;
      if (file.startsWith('y_')) assert.equal(status, 202, file);
      else if (file.startsWith('n_')) assert.deepEqual([status, stored], [400, 0], file);
      else assert.ok(status === 202 || (status === 400 && stored === 0), `${file}: ${status}`);
    }
  }
});

test('refuses the suite inside an array and inside {"events":[…]} as it does outside', async (t) => {
  const server = await startCollect(t);
  for (const file of readdirSync(suite).filter((name) => name.startsWith('n_'))) {
    const bytes = readFileSync(join(suite, file));
    // Some broken texts complete each other's brackets; what JSON.parse takes is no concern here.
    for (const [before, after] of [
      ['[', ']'],
      ['{"events":[{},', ']}'],
    ] as const) {
      const body = Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]);
      const { status } = await server.post('/v1/collect', body);
      assert.equal(status, parses(body) ? 202 : 400, file);
    }
  }
});

function parses(body: Buffer): boolean {
  try {
    JSON.parse(body.toString());
    return true;
  } catch {
    return false;
  }
}

test('refuses events nested deeper than 64, and takes those of 64', async (t) => {
  const server = await startCollect(t);
  const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const objects = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
  for (const make of [nested, objects]) {
    for (const wrap of [(x: string) => `[${x},${x}]`, (x: string) => `{"events":[1,${x}]}`]) {
      assert.equal((await server.post('/v1/collect', wrap(make(64)))).json.accepted, 2);
      await assertRefused(server, wrap(make(65)), 400);
    }
  }
  assert.equal((await server.post('/v1/collect', objects(64))).json.accepted, 1);
  await assertRefused(server, objects(65), 400);
  const own = (depth: number): string => `{"event_type":"t","events":[${nested(depth)}]}`;
  assert.equal((await server.post('/v1/collect', own(62))).json.accepted, 1);
  await assertRefused(server, own(63), 400);
  await assertRefused(server, `{"events":[],"x":${nested(64)}}`, 400);
});

test('settles depth bombs of 10 MiB quickly', async (t) => {
  const server = await startCollect(t);
  const startedMs = performance.now();
  for (const bomb of ['['.repeat(10_000_000), '{"a":'.repeat(2_000_000), `[${'['.repeat(5_000_000)}`]) {
    await assertRefused(server, bomb, 400);
  }
  await assertRefused(server, '['.repeat(1_048_576), 400);
  assert.ok(performance.now() - startedMs < 5_000);
});

test('refuses bodies that are not UTF-8 or start with a byte order mark', async (t) => {
  const server = await startCollect(t);
  await assertRefused(server, Buffer.from([0x22, 0xc3, 0x28, 0x22]), 400);
  await assertRefused(server, Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 400);
  await assertRefused(server, Buffer.from(`\ufeff${ok}`), 400);
  await assertRefused(server, Buffer.from(ok, 'utf16le'), 400);
  await assertRefused(server, '{"\\x":1,"events":[1]}', 400);
  await assertRefused(server, '{"\\u00', 400);
  await assertRefused(server, '', 400);
  await assertRefused(server, ' \n ', 400);
});

test('takes what JSON allows: NUL escapes, lone surrogates, numbers beyond all range, __proto__', async (t) => {
  const server = await startCollect(t);
  const values = [
    '"\\u0000"',
    '"\\ud800"',
    '1e400',
    '-1e-400',
    '{"__proto__":{"x":1}}',
    `1${'0'.repeat(5000)}`,
  ];
  for (const value of values) {
    const body = `{"event_type":"t","data":${value},"__proto__":1}`;
    assert.equal((await server.post('/v1/collect', body)).json.accepted, 1, value);
    assert.equal(
      server.log.all(rawTopic).some((record) => record.value.toString() === body),
      true,
      value,
    );
  }
  assert.equal(Object.hasOwn(Object.prototype, 'x'), false);
});

test('bounds the output of compressed bodies', async (t) => {
  const server = await startCollect(t);
  const bomb = Buffer.alloc(30 * 1_048_576, 0x20);
  await assertRefused(server, gzipSync(bomb), 413, { 'content-encoding': 'gzip' });
  await assertRefused(server, brotliCompressSync(Buffer.alloc(11_000_000, 0x20)), 413, {
    'content-encoding': 'br',
  });
  await assertRefused(server, 'no gzip', 400, { 'content-encoding': 'gzip' });
  await assertRefused(server, gzipSync(ok).subarray(0, 20), 400, { 'content-encoding': 'gzip' });
  await assertRefused(server, gzipSync(ok), 415, { 'content-encoding': 'gzip, gzip' });
  await assertRefused(server, gzipSync(ok), 415, { 'content-encoding': 'constructor' });
  assert.equal(server.collect.status().inFlightBytes, 0);
});

test('refuses events over 1 MiB, batches over 10 MiB and batches of over 10,000 events', async (t) => {
  const server = await startCollect(t);
  const sized = (bytes: number): string => `"${'x'.repeat(bytes - 2)}"`;
  assert.equal((await server.post('/v1/collect', sized(1_048_576))).json.accepted, 1);
  await assertRefused(server, sized(1_048_577), 413);
  await assertRefused(server, `[1,${sized(1_048_577)}]`, 413);
  await assertRefused(server, `{"events":[1,${sized(1_048_577)}]}`, 413);
  assert.equal((await server.post('/events', sized(1_048_577))).status, 413);
  const full = `[${Array.from({ length: 9 }, () => sized(1_000_000)).join(',')}]`;
  assert.equal((await server.post('/v1/collect', full)).json.accepted, 9);
  await assertRefused(server, `[${' '.repeat(10 * 1_048_576)}]`, 413);
  const many = (count: number): string => Array.from({ length: count }, () => '0').join(',');
  assert.equal((await server.post('/v1/collect', `[${many(10_000)}]`)).json.accepted, 10_000);
  await assertRefused(server, `[${many(10_001)}]`, 413);
  await assertRefused(server, `{"events":[${many(10_001)}]}`, 413);
  const lines = many(10_001).replaceAll(',', '\n');
  await assertRefused(server, lines, 413, { 'content-type': 'application/x-ndjson' });
  const own = `{"event_type":"t","events":[${many(10_001)}]}`;
  assert.equal((await server.post('/v1/collect', own)).json.accepted, 1);
});

test('lists a line of NDJSON that is too large beside its neighbours', async (t) => {
  const server = await startCollect(t);
  const body = `1\n"${'x'.repeat(1_048_576)}"\n3\n`;
  const answer = await server.post('/v1/collect', body, { 'content-type': 'application/x-ndjson' });
  assert.equal(answer.json.accepted, 2);
  assert.equal(answer.json.errors[0].code, 'PULSE_COLLECT_EVENT_TOO_LARGE');
});

/** Opens a connection, sends text, and collects what comes back until it ends. */
function raw(port: number, text: string): { socket: Socket; ended: Promise<string> } {
  const socket = connect(port, '127.0.0.1', () => socket.write(text));
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString();
  });
  socket.on('error', () => {});
  return { socket, ended: new Promise((resolve) => socket.on('close', () => resolve(received))) };
}

test('answers an oversized body at once and ends the connection, declared or chunked', async (t) => {
  const server = await startCollect(t);
  const head = 'POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: acme\r\n';
  const declared = raw(server.port, `${head}Content-Length: 99999999999\r\n\r\n[`);
  const answer = await declared.ended;
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.match(answer, /Connection: close/i);
  assert.match(answer, /PULSE_COLLECT_BODY_TOO_LARGE/);
  const chunked = raw(server.port, `${head}Transfer-Encoding: chunked\r\n\r\n`);
  // Before the connection stands, a piece would be queued ahead of the head that `raw` writes then.
  await once(chunked.socket, 'connect');
  const piece = `100000\r\n${' '.repeat(0x100000)}\r\n`;
  const pump = setInterval(() => chunked.socket.write(piece), 1);
  try {
    assert.match(await chunked.ended, /^HTTP\/1\.1 413 /);
  } finally {
    clearInterval(pump);
  }
  assert.equal(server.collect.status().inFlightBytes, 0);
  assert.equal((await server.post('/v1/collect', ok)).status, 202);
});

test('answers a slow body with 408 and frees what it held', async (t) => {
  const server = await startCollect(t, { settings: { PULSE_COLLECT_BODY_TIMEOUT_MS: 120 } });
  const head =
    'POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: acme\r\nContent-Length: 100000\r\n\r\n{"a"';
  const slow = raw(server.port, head);
  const neighbour = await server.post('/v1/collect', ok);
  assert.equal(neighbour.status, 202);
  const answer = await slow.ended;
  assert.match(answer, /^HTTP\/1\.1 408 /);
  assert.match(answer, /PULSE_COLLECT_BODY_TIMEOUT/);
  assert.equal(server.collect.status().inFlightRequests, 0);
  assert.equal(server.collect.status().inFlightBytes, 0);
});

test('forgets half requests whose client goes away', async (t) => {
  const server = await startCollect(t);
  const head = 'POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: acme\r\nContent-Length: 50\r\n\r\n{"event';
  const half = raw(server.port, head);
  while (server.collect.status().inFlightRequests === 0) await sleep(2);
  half.socket.destroy();
  while (server.collect.status().inFlightRequests > 0) await sleep(2);
  assert.equal(server.collect.status().inFlightBytes, 0);
  assert.equal(server.log.all(rawTopic).length, 0);
  assert.equal((await server.post('/v1/collect', ok)).status, 202);
});

test('finishes an append whose client goes away meanwhile', async (t) => {
  const server = await startCollect(t);
  let release = (): void => {};
  server.log.beforeAppend = () => new Promise((resolve) => (release = resolve));
  const body = ok;
  const text = `POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: acme\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const gone = raw(server.port, text);
  while (server.log.appends === 0) await sleep(2);
  gone.socket.destroy();
  await gone.ended;
  await sleep(10);
  release();
  while (server.collect.status().inFlightRequests > 0) await sleep(2);
  assert.equal(server.log.all(rawTopic).length, 1);
});

test('keeps the connection of a small refused request', async (t) => {
  const server = await startCollect(t);
  const request = (key: string): string =>
    `POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: ${key}\r\nContent-Length: ${ok.length}\r\n\r\n${ok}`;
  const connection = raw(server.port, request('nobody') + request('acme') + request('nobody'));
  let received = '';
  connection.socket.on('data', (chunk) => (received += chunk.toString()));
  while ((received.match(/HTTP\/1\.1 /g) ?? []).length < 3) await sleep(2);
  connection.socket.end();
  assert.deepEqual(received.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 401', 'HTTP/1.1 202', 'HTTP/1.1 401']);
});

test('never answers random bytes with a 5xx, whatever the headers claim', async (t) => {
  const server = await startCollect(t);
  const seed = Number(process.env['PULSE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`seed ${seed}`);
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const tokens = [
    '{',
    '}',
    '[',
    ']',
    '"',
    ',',
    ':',
    '\\',
    '\\u0000',
    '"events"',
    '1e5',
    '-',
    ' ',
    '\n',
    'null',
    'é',
    '"a"',
  ];
  const types = ['', 'application/json', 'application/x-ndjson', 'application/cloudevents+json', 'a/b'];
  for (let run = 0; run < 400; run++) {
    const body =
      random(3) === 0
        ? Buffer.from(Array.from({ length: random(200) }, () => random(256)))
        : Buffer.from(Array.from({ length: random(40) }, () => tokens[random(tokens.length)]).join(''));
    const headers: Record<string, string> = { 'content-type': types[random(types.length)] ?? '' };
    if (random(8) === 0) headers['content-encoding'] = 'gzip';
    if (random(8) === 0) headers['ce-id'] = '%C3%28';
    if (random(4) === 0) headers['idempotency-key'] = `k${run}`;
    const answer = await server.post('/v1/collect', body, headers);
    assert.ok(
      answer.status === 202 || (answer.status >= 400 && answer.status < 500),
      `${answer.status} ${body}`,
    );
    const isPlain = headers['content-encoding'] === undefined && headers['ce-id'] === undefined;
    if (isPlain && headers['content-type'] !== 'application/x-ndjson') {
      assert.equal(answer.status === 202, body.length > 0 && isJson(body), body.toString());
    }
  }
});

function isJson(body: Buffer): boolean {
  return Buffer.from(body.toString()).equals(body) && parses(body);
}
