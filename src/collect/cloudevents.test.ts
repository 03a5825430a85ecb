// CloudEvents in the three HTTP modes, sent by the public SDK, and the corners of the binary binding.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CloudEvent, HTTP, type Message } from 'cloudevents';
import { rawTopic, send, startCollect } from '../../tests/support/collect-server.ts';
import { decodeHeaderValue } from './protocols/cloudevents.ts';

const corpus = join(import.meta.dirname, '..', '..', 'tests', 'fixtures', 'github-webhooks', 'payloads');
const payloads = globSync('**/*.json', { cwd: corpus })
  .sort()
  .map((file) => ({ file, text: readFileSync(join(corpus, file), 'utf8') }));

function headersOf(message: Message<unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)]));
}

describe('the webhooks corpus through the public SDK', () => {
  test('arrives byte for byte in binary mode', async (t) => {
    const server = await startCollect(t);
    for (const { file, text } of payloads) {
      const event = new CloudEvent({
        id: file,
        source: '/hooks',
        type: `github.${file}`,
        data: text,
        tenantkey: 'x',
      });
      const message = HTTP.binary(event);
      assert.equal(message.body, text);
      const answer = await server.post('/v1/collect', text, headersOf(message));
      assert.deepEqual([answer.status, answer.json.receipts[0].event_id], [202, file]);
    }
    const records = server.log.all(rawTopic);
    assert.equal(records.length, payloads.length);
    for (const { file, text } of payloads) {
      const record = records.find((entry) => entry.headers['ce_id'] === file);
      assert.ok(record, file);
      assert.ok(record.value.equals(Buffer.from(text)), file);
      const { headers } = record;
      assert.equal(headers['pulse_protocol'], 'cloudevents-binary');
      assert.equal(headers['ce_type'], `github.${file}`);
      assert.equal(headers['ce_source'], '/hooks');
      assert.equal(headers['ce_specversion'], '1.0');
      assert.equal(headers['ce_tenantkey'], 'x');
      assert.match(headers['ce_time'] ?? '', /^\d{4}-/);
      assert.match(headers['content_type'] ?? '', /^application\/json/);
    }
  });

  test('arrives byte for byte in structured and batch mode', async (t) => {
    const server = await startCollect(t);
    const texts: string[] = [];
    for (const { file, text } of payloads) {
      const data = JSON.parse(text) as Record<string, unknown>;
      const message = HTTP.structured(new CloudEvent({ id: file, source: '/hooks', type: 'github', data }));
      texts.push(String(message.body));
      const answer = await server.post('/v1/collect', String(message.body), headersOf(message));
      assert.deepEqual([answer.status, answer.json.receipts[0].event_id], [202, file]);
    }
    const batch = `[\n${texts.map((text) => text.replace('"id":"', '"id":"batch-')).join(' ,\n')} ]`;
    const type = { 'content-type': 'application/cloudevents-batch+json; charset=UTF-8' };
    assert.equal((await server.post('/v1/collect', batch, type)).json.accepted, payloads.length);
    const values = new Map(server.log.all(rawTopic).map((record) => [record.headers['ce_id'], record]));
    assert.equal(values.size, payloads.length * 2);
    payloads.forEach(({ file }, n) => {
      assert.equal(values.get(file)?.value.toString(), texts[n]);
      assert.equal(
        values.get(`batch-${file}`)?.value.toString(),
        texts[n]?.replace('"id":"', '"id":"batch-'),
      );
      assert.equal(values.get(file)?.headers['pulse_protocol'], 'cloudevents-structured');
      assert.equal(values.get(file)?.headers['ce_source'], '/hooks');
    });
  });
});

describe('binary mode', () => {
  const ce = { 'ce-specversion': '1.0', 'ce-id': 'b', 'ce-source': '/s', 'ce-type': 't' };

  test('takes data of any content type, also none', async (t) => {
    const server = await startCollect(t);
    const bytes = Buffer.from([0, 255, 254, 10, 13]);
    const image = await server.post('/v1/collect', bytes, { ...ce, 'content-type': 'image/png' });
    assert.equal(image.status, 202);
    const [record] = server.log.all(rawTopic);
    assert.ok(record?.value.equals(bytes));
    assert.equal(record?.headers['content_type'], 'image/png');
    assert.equal((await server.post('/v1/collect', '', ce)).status, 202);
    const text = await server.post('/v1/collect', '{no json', { ...ce, 'content-type': 'text/plain' });
    assert.equal(text.status, 202);
  });

  test('refuses data that calls itself JSON and is not', async (t) => {
    const server = await startCollect(t);
    for (const type of ['application/json', 'application/vnd.x+json;a=b']) {
      const answer = await server.post('/v1/collect', '{no json', { ...ce, 'content-type': type });
      assert.equal(answer.json.code, 'PULSE_COLLECT_NOT_JSON');
    }
  });

  test('decodes header values: quotes, percent-encoding once, UTF-8', () => {
    assert.equal(decodeHeaderValue('Euro%20%E2%82%AC%20%F0%9F%98%80'), 'Euro € 😀');
    assert.equal(decodeHeaderValue('"a\\"b%25"'), 'a"b%');
    assert.equal(decodeHeaderValue('%2525'), '%25');
    assert.equal(decodeHeaderValue('100% sure %zz'), '100% sure %zz');
    assert.equal(decodeHeaderValue(Buffer.from('é', 'utf8').toString('latin1')), 'é');
    assert.equal(decodeHeaderValue('%C3%28'), null);
    assert.equal(decodeHeaderValue('plain'), 'plain');
  });

  test('refuses attributes that it could keep nowhere', async (t) => {
    const server = await startCollect(t);
    const cases: Record<string, string>[] = [
      { ...ce, 'ce-id': '%C3%28' },
      { ...ce, 'ce-subject': 'x'.repeat(513) },
      { ...ce, 'ce-type': '%00' },
      { ...ce, 'ce-under-score': 'x' },
      { ...ce, ...Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`ce-x${i}`, 'v'])) },
    ];
    for (const headers of cases) {
      const answer = await server.post('/v1/collect', '{}', {
        ...headers,
        'content-type': 'application/json',
      });
      assert.equal(answer.status, 400);
      assert.equal(answer.json.code, 'PULSE_COLLECT_ATTRIBUTE_INVALID');
    }
    assert.equal(server.log.appends, 0);
  });

  test('gives an event without ce-id an id, and leaves missing attributes to process', async (t) => {
    const server = await startCollect(t);
    const answer = await server.post('/v1/collect', '{}', { 'ce-specversion': '1.0' });
    assert.equal(answer.status, 202);
    assert.match(answer.json.receipts[0].event_id, /^[0-9a-f-]{36}$/);
    assert.equal(server.log.all(rawTopic)[0]?.headers['ce_type'], undefined);
  });
});

describe('other modes', () => {
  test('refuses event formats other than JSON', async (t) => {
    const server = await startCollect(t);
    for (const type of [
      'application/cloudevents+avro',
      'application/cloudevents',
      'application/cloudevents-batch',
    ]) {
      assert.equal((await server.post('/v1/collect', '{}', { 'content-type': type })).status, 415, type);
    }
  });

  test('accepts what is JSON but no CloudEvent, for process to judge', async (t) => {
    const server = await startCollect(t);
    const type = { 'content-type': 'application/cloudevents+json' };
    const answer = await send(
      server.port,
      'POST',
      '/v1/collect',
      '[7,{"id":"own","type":"t"},{"id":9}]',
      type,
    );
    assert.equal(answer.json.accepted, 3);
    assert.equal(answer.json.receipts[1].event_id, 'own');
    assert.equal((await server.post('/v1/collect', '{"events":[1,2]}', type)).json.accepted, 1);
  });
});
