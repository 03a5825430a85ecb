// Collect over a real HTTP server: shapes of bodies and answers, original bytes, record headers, refusals.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { rawTopic, send, startCollect, testTenant } from '../../tests/support/collect-server.ts';
import { ManualClock } from '../core/clock.ts';
import type { StoredRecord } from '../ports/event-log/event-log.ts';

const event = (id: string): string => `{"event_id":"${id}","event_type":"trip","data":{"n":1}}`;

/** Records by event id. */
function byId(records: readonly StoredRecord[]): Map<string, StoredRecord> {
  return new Map(records.map((record) => [record.headers['ce_id'] ?? '', record]));
}

describe('POST /v1/collect', () => {
  test('accepts one event and answers with its receipt', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', event('e-1'));
    assert.equal(answer.status, 202);
    const [record] = server.log.all(rawTopic);
    assert.deepEqual(answer.json, {
      accepted: 1,
      rejected: 0,
      receipts: [{ index: 0, event_id: 'e-1', receipt_id: `rcp_acme.7.${record?.partition}.0` }],
      errors: [],
    });
    assert.equal(record?.value.toString(), event('e-1'));
  });

  test('accepts arrays and {"events":[…]}, in order, one receipt each', async (t) => {
    const server = await startCollect(t);
    const list = `[ ${event('a')} ,\n${event('b')},${event('c')} ]`;
    const wrapped = `{"sent_at":"now","events" : ${list.replaceAll('"event_id":"', '"event_id":"w')}}`;
    for (const [body, ids] of [
      [list, ['a', 'b', 'c']],
      [wrapped, ['wa', 'wb', 'wc']],
    ] as const) {
      const answer = await server.post('/v1/collect', body);
      assert.equal(answer.json.accepted, 3);
      assert.deepEqual(
        answer.json.receipts.map((receipt: { event_id: string }) => receipt.event_id),
        ids,
      );
      const stored = byId(server.log.all(rawTopic));
      for (const { event_id, receipt_id } of answer.json.receipts) {
        const record = stored.get(event_id);
        assert.equal(receipt_id, `rcp_acme.7.${record?.partition}.${record?.offset}`);
        assert.equal(record?.value.toString(), event(event_id));
      }
    }
  });

  test('keeps the original bytes: big integers, duplicate keys, order of keys, escapes, white space inside', async (t) => {
    const server = await startCollect(t);
    const texts = [
      '{"event_id":"x1","event_type":"t","data":{"big":9007199254740993,"huge":1e400,"a":1,"a":2}}',
      '{ "z":1 , "event_id" : "x2",\t"event_type":"t", "data":{"\\u0061":"\\ud83d\\ude00 \\/ é","b":[ ]}, "a":0 }',
      '{"event_id":"x3","event_type":"t","__proto__":{"event_id":"evil"},"data":{"constructor":1}}',
      '{"event_id":"no","event_id":"x4","data":"]}[{,\\\\\\""}',
    ];
    await server.post('/v1/collect', ` [${texts.join(' ,\r\n')}]\n`);
    await server.post('/v1/collect', `\n\t{"events":[${texts.join(',').replaceAll('"x', '"y')}],"z":[[]]} `);
    await server.post('/v1/collect', `\r\n ${texts[0]?.replace('x1', 'solo')}\n`);
    const stored = byId(server.log.all(rawTopic));
    assert.equal(stored.size, 9);
    texts.forEach((text, i) => {
      assert.equal(stored.get(`x${i + 1}`)?.value.toString(), text);
      assert.equal(stored.get(`y${i + 1}`)?.value.toString(), text.replaceAll('"x', '"y'));
    });
    assert.equal(stored.get('solo')?.value.toString(), texts[0]?.replace('x1', 'solo'));
  });

  test('accepts JSON that is no event, so that process can make a dead letter of it', async (t) => {
    const server = await startCollect(t);
    for (const body of [
      '42',
      '"x"',
      'null',
      'true',
      '{}',
      '{"event_id":5,"event_type":["x"]}',
      '{"events":7}',
    ]) {
      assert.equal((await server.post('/v1/collect', body)).json.accepted, 1, body);
    }
    const answer = await server.post('/v1/collect', '[1,"two",null,[3],{"event_id":""}]');
    assert.equal(answer.json.accepted, 5);
    const values = server.log.all(rawTopic).map((record) => record.value.toString());
    for (const value of ['42', '1', '"two"', '[3]', '{"event_id":""}'])
      assert.ok(values.includes(value), value);
    for (const record of server.log.all(rawTopic)) {
      assert.match(record.headers['ce_id'] ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      assert.equal(record.headers['ce_type'], undefined);
    }
  });

  test('answers an empty array with 202 and nothing accepted', async (t) => {
    const server = await startCollect(t);
    for (const body of ['[]', ' [ ] ', '{"events":[]}']) {
      const answer = await server.post('/v1/collect', body);
      assert.equal(answer.status, 202);
      assert.deepEqual(answer.json, { accepted: 0, rejected: 0, receipts: [], errors: [] });
    }
    assert.equal(server.log.all(rawTopic).length, 0);
  });

  test('takes an object with an event_type as one event, even when it has a field events', async (t) => {
    const server = await startCollect(t);
    const body = '{"event_id":"one","event_type":"digest","events":[1,2,3]}';
    assert.equal((await server.post('/v1/collect', body)).json.accepted, 1);
    const escaped = '{"\\u0065vents":[{"event_id":"e1"},{"event_id":"e2"}]}';
    assert.equal((await server.post('/v1/collect', escaped)).json.accepted, 2);
    const twice = '{"events":[1,2,3],"events":[4]}';
    assert.equal((await server.post('/v1/collect', twice)).json.accepted, 1);
    const values = server.log.all(rawTopic).map((record) => record.value.toString());
    assert.deepEqual(values.sort(), [body, '{"event_id":"e1"}', '{"event_id":"e2"}', '4'].sort());
  });

  test('judges each line of NDJSON alone', async (t) => {
    const server = await startCollect(t);
    const body = Buffer.concat([
      Buffer.from(`${event('l0')}\n\n   \r\n{broken\r\n  ${event('l2')}  \r\n`),
      Buffer.from([0xff, 0x22, 0x0a]),
      Buffer.from(`${'['.repeat(65)}${']'.repeat(65)}\n42\n${event('l6')}`),
    ]);
    const type = { 'content-type': 'Application/X-NDJSON; charset=utf-8' };
    const answer = await server.post('/v1/collect', body, type);
    assert.equal(answer.status, 202);
    assert.equal(answer.json.accepted, 4);
    assert.equal(answer.json.rejected, 3);
    assert.deepEqual(
      answer.json.receipts.map((receipt: { index: number }) => receipt.index),
      [0, 2, 5, 6],
    );
    assert.deepEqual(
      answer.json.errors.map(({ index, code, pointer }: Record<string, unknown>) => [index, code, pointer]),
      [
        [1, 'PULSE_COLLECT_NOT_JSON', ''],
        [3, 'PULSE_COLLECT_NOT_UTF8', ''],
        [4, 'PULSE_COLLECT_TOO_DEEP', ''],
      ],
    );
    assert.match(answer.json.errors[0].detail, /^Line 1 /);
    assert.equal(byId(server.log.all(rawTopic)).get('l2')?.value.toString(), event('l2'));
  });

  test('answers NDJSON of which nothing is left with 422 and all errors', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', '{\n}\n', { 'content-type': 'application/jsonl' });
    assert.equal(answer.status, 422);
    assert.equal(answer.json.code, 'PULSE_COLLECT_NOTHING_ACCEPTED');
    assert.equal(answer.json.errors.length, 2);
    const blank = await server.post('/v1/collect', '\n \r\n', { 'content-type': 'application/x-jsonlines' });
    assert.equal(blank.status, 400);
    assert.equal(server.log.all(rawTopic).length, 0);
  });

  test('ignores content types that mean nothing special', async (t) => {
    const server = await startCollect(t);
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/JSON;charset=UTF-8',
      'x',
    ]) {
      assert.equal(
        (await server.post('/v1/collect', event(type), { 'content-type': type })).status,
        202,
        type,
      );
    }
  });

  test('unpacks gzip, deflate (with and without zlib header) and br', async (t) => {
    const server = await startCollect(t);
    const cases = [
      ['gzip', gzipSync],
      ['GZIP', gzipSync],
      ['deflate', deflateSync],
      ['deflate', deflateRawSync],
      ['br', brotliCompressSync],
    ] as const;
    for (const [n, [coding, pack]] of cases.entries()) {
      const answer = await server.post('/v1/collect', pack(event(`z${n}`)), { 'content-encoding': coding });
      assert.equal(answer.status, 202, coding);
      assert.equal(byId(server.log.all(rawTopic)).get(`z${n}`)?.value.toString(), event(`z${n}`));
    }
    const plain = await server.post('/v1/collect', event('i'), { 'content-encoding': 'identity' });
    assert.equal(plain.status, 202);
  });

  test('writes what it knows into the record headers', async (t) => {
    const clock = new ManualClock(Date.UTC(2026, 10, 1, 12, 0, 0, 7));
    const server = await startCollect(t, { clock });
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const body =
      '{"event_id":"h","event_type":"trip","source":"app","subject":"s","timestamp":"2026-11-01T11:00:00Z","data":1}';
    const answer = await server.post('/v1/collect', body, {
      traceparent: trace,
      'x-request-id': 'req-1',
      'user-agent': 'A'.repeat(400),
    });
    assert.equal(answer.headers['x-request-id'], 'req-1');
    assert.deepEqual(server.log.all(rawTopic)[0]?.headers, {
      ce_id: 'h',
      ce_type: 'trip',
      ce_source: 'app',
      ce_subject: 's',
      ce_time: '2026-11-01T11:00:00Z',
      pulse_tenant: 'acme',
      pulse_received_at: '2026-11-01T12:00:00.007Z',
      pulse_protocol: 'native',
      pulse_attempt: '1',
      pulse_request_id: 'req-1',
      pulse_user_agent: 'A'.repeat(256),
      pulse_client_address: '127.0.0.1',
      traceparent: trace,
    });
  });

  test('keeps what is unsafe or too long out of the headers, and all of it in the value', async (t) => {
    const server = await startCollect(t);
    const long = 'x'.repeat(513);
    const bodies = [
      `{"event_id":"${long}","event_type":"${long}","source":"a\\u0000b"}`,
      '{"event_id":"\\ud800","event_type":"t\\u0000t","subject":{"a":1},"event_time":5}',
    ];
    for (const body of bodies) assert.equal((await server.post('/v1/collect', body)).json.accepted, 1);
    for (const record of server.log.all(rawTopic)) {
      assert.ok(bodies.includes(record.value.toString()));
      for (const name of ['ce_type', 'ce_source', 'ce_subject', 'ce_time']) {
        assert.equal(record.headers[name], undefined, name);
      }
      assert.match(record.headers['ce_id'] ?? '', /^[0-9a-f-]{36}$/);
    }
  });

  test('makes a request id when the given one is not sane, and drops a traceparent that is not valid', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', event('r'), {
      'x-request-id': 'has space',
      traceparent: '00-00000000000000000000000000000000-00f067aa0ba902b7-01',
    });
    assert.match(String(answer.headers['x-request-id']), /^[\w-]{8}-[0-9a-z]+$/);
    assert.equal(server.log.all(rawTopic)[0]?.headers['traceparent'], undefined);
  });

  test('escapes event ids in the answer', async (t) => {
    const server = await startCollect(t);
    const id = 'a"b\\c\n\u007f é 😀';
    const answer = await server.post('/v1/collect', JSON.stringify({ event_id: id, event_type: 't' }));
    assert.equal(answer.json.receipts[0].event_id, id);
    assert.equal(server.log.all(rawTopic)[0]?.headers['ce_id'], id);
  });

  test('gives each event without an id one of its own', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', '[{"event_type":"a"},{"event_type":"a"}]');
    const ids = answer.json.receipts.map((receipt: { event_id: string }) => receipt.event_id);
    assert.equal(new Set(ids).size, 2);
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/);
  });
});

describe('POST /events', () => {
  test('takes one native event and answers with id and receipt', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/events', event('one'), { 'idempotency-key': 'k' });
    assert.equal(answer.status, 202);
    const [record] = server.log.all(rawTopic);
    assert.deepEqual(answer.json, { event_id: 'one', receipt_id: `rcp_acme.7.${record?.partition}.0` });
  });

  test('takes whatever JSON comes as the one event', async (t) => {
    const server = await startCollect(t);
    assert.equal((await server.post('/events?x=1', '[1,2]')).status, 202);
    assert.equal(server.log.all(rawTopic)[0]?.value.toString(), '[1,2]');
  });

  test('sends batches and CloudEvents to /v1/collect', async (t) => {
    const server = await startCollect(t);
    for (const type of ['application/x-ndjson', 'application/cloudevents+json']) {
      assert.equal((await server.post('/events', '{}', { 'content-type': type })).status, 415, type);
    }
    assert.equal((await server.post('/events', '{}', { 'ce-id': '1' })).status, 415);
  });
});

describe('refusals', () => {
  test('leaves other paths alone', async (t) => {
    const server = await startCollect(t);
    for (const path of ['/', '/v1/events', '/v1/collect/', '/eventsx']) {
      assert.equal((await server.post(path, '{}')).text, 'not of collect', path);
    }
  });

  test('answers other methods with 405 and Allow', async (t) => {
    const server = await startCollect(t);
    for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await send(server.port, method, '/v1/collect', '');
      assert.equal(answer.status, 405);
      assert.equal(answer.headers.allow, 'POST');
      assert.equal(answer.json.code, 'PULSE_COLLECT_METHOD_NOT_ALLOWED');
    }
  });

  test('answers 401 without a key, 403 without the scope, for the admin token and for a suspended tenant', async (t) => {
    const tenants = [testTenant('acme'), testTenant('frozen', { status: 'suspended' })];
    const server = await startCollect(t, { tenants });
    const status = async (key: string): Promise<number> =>
      (await server.post('/v1/collect', '{}', { 'x-api-key': key })).status;
    assert.equal(await status('nobody'), 401);
    assert.equal(await status('acme:read'), 403);
    assert.equal(await status('admin'), 403);
    assert.equal(await status('frozen'), 403);
    assert.equal(server.log.appends, 0);
    const answer = await server.post('/v1/collect', '{}', { 'x-api-key': 'nobody' });
    assert.match(String(answer.headers['www-authenticate']), /^Bearer/);
  });

  test('answers as RFC 9457 problems with a code, the next step and the request id', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', '{"a":', { 'x-request-id': 'mine' });
    assert.equal(answer.headers['content-type'], 'application/problem+json');
    assert.equal(answer.json.request_id, 'mine');
    assert.equal(answer.json.code, 'PULSE_COLLECT_NOT_JSON');
    assert.equal(answer.json.type, 'urn:pulse:error:PULSE_COLLECT_NOT_JSON');
    for (const name of ['title', 'detail', 'next']) assert.equal(typeof answer.json[name], 'string', name);
  });

  test('answers 500 without internals when something unforeseen happens', async (t) => {
    const server = await startCollect(t);
    server.log.beforeAppend = () => Promise.reject(new TypeError('secret detail'));
    const answer = await server.post('/v1/collect', event('u'));
    assert.equal(answer.status, 500);
    assert.equal(answer.json.code, 'PULSE_INTERNAL_ERROR');
    assert.ok(!answer.text.includes('secret'));
  });

  test('keeps what the tenant wants of client addresses', async (t) => {
    const tenants = [
      testTenant('keeps'),
      testTenant('truncates', { clientAddressPolicy: 'truncate' }),
      testTenant('drops', { clientAddressPolicy: 'drop' }),
    ];
    const settings = { PULSE_COLLECT_TRUSTED_PROXIES: '127.0.0.0/8' };
    const server = await startCollect(t, { tenants, settings });
    for (const { tenantId } of tenants) {
      await server.post('/v1/collect', event(tenantId), {
        'x-api-key': tenantId,
        'x-forwarded-for': '10.1.1.1, 203.0.113.77, 127.0.0.9',
      });
    }
    const stored = byId(server.log.all(rawTopic));
    const address = (id: string): string | undefined => stored.get(id)?.headers['pulse_client_address'];
    assert.deepEqual(['keeps', 'truncates', 'drops'].map(address), [
      '203.0.113.77',
      '203.0.113.0',
      undefined,
    ]);
  });
});
