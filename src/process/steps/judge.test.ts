// Facts about the verdict on one record: codes, every failure found, and what is kept of the event.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { rawRecord, receivedAt, receivedAtMs, sharedTopic, tenant } from '../testing/records.ts';
import type { TopicFacts } from './identify.ts';
import { type Judged, type JudgedEvent, judge } from './judge.ts';

const event = { event_type: 'order.placed', data: { total: 1 } };

function verdict(judged: Judged): string {
  if (judged.kind === 'event') return 'event';
  const { code, failures } = judged.deadLetter;
  return `${code}: ${failures.map((failure) => `${failure.pointer} ${failure.rule}`).join(', ')}`;
}

function judgeValue(
  value: string | Buffer | object,
  headers: Record<string, string | undefined> = {},
): string {
  return verdict(judge(rawRecord(value, { headers }), sharedTopic()));
}

function accepted(judged: Judged): JudgedEvent {
  assert.equal(judged.kind, 'event', verdict(judged));
  return judged as JudgedEvent;
}

describe('a native event', () => {
  test('is accepted with each name for data and time', () => {
    for (const name of ['data', 'payload', 'properties']) {
      assert.equal(judgeValue({ event_type: 'a', [name]: { x: 1 }, timestamp: receivedAt }), 'event');
    }
  });

  test('takes the time of receipt when it names none, and null counts as absent', () => {
    const judged = accepted(judge(rawRecord({ ...event, event_time: null, event_id: null }), sharedTopic()));
    assert.equal(judged.eventTimeMs, receivedAtMs);
  });

  test('shows every failure at once', () => {
    const value = { event_id: 7, event_type: '', event_time: 'soon', subject: [], data: [1] };
    assert.equal(
      judgeValue(value),
      'invalid_envelope: /event_id type, /event_type length, /subject type, /data type, /event_time format',
    );
    assert.equal(judgeValue({}), 'invalid_envelope: /event_type required, /data required');
    assert.equal(
      judgeValue({ ...event, event_type: 'x'.repeat(513) }),
      'invalid_envelope: /event_type length',
    );
  });

  test('with a bad time alone is invalid_time', () => {
    assert.equal(
      judgeValue({ ...event, timestamp: '0000-01-01T00:00:00Z' }),
      'invalid_time: /timestamp range',
    );
    assert.equal(judgeValue({ ...event, event_time: true }), 'invalid_time: /event_time type');
  });

  test('keeps what the envelope has no place for as extensions, byte by byte', () => {
    const text =
      '{"event_type":"a","data":{"n":9007199254740993},"user":{"id":9007199254740993},"payload":1}';
    const judged = accepted(judge(rawRecord(text), sharedTopic()));
    assert.equal(judged.envelope.extensions, '"user":{"id":9007199254740993},"payload":1');
    assert.equal(judged.envelope.data.toString(), '{"n":9007199254740993}');
  });
});

describe('bytes that are no event', () => {
  test('are unparseable, each with its reason', () => {
    assert.equal(judgeValue(''), 'unparseable:  json');
    assert.equal(judgeValue('{"a":'), 'unparseable:  json');
    assert.equal(judgeValue('[1]'), 'unparseable:  type');
    assert.equal(judgeValue(Buffer.from([0x7b, 0xff, 0x7d])), 'unparseable:  utf8');
    assert.equal(judgeValue(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), 'unparseable:  depth');
    assert.equal(judgeValue(Buffer.alloc(1_048_577, 0x20)), 'unparseable:  size');
  });

  test('may nest as deep as 64', () => {
    const nested = (depth: number): string =>
      `{"event_type":"a","data":${'{"a":'.repeat(depth - 2)}{}${'}'.repeat(depth - 1)}`;
    assert.equal(judgeValue(nested(64)), 'event');
    assert.equal(judgeValue(nested(65)), 'unparseable:  depth');
  });
});

describe('the tenant of a record', () => {
  const dedicated: TopicFacts = { ...sharedTopic(tenant('acme')), ownerId: 'acme' };

  test('is known from the header alone on a shared topic', () => {
    assert.equal(judgeValue(event, { pulse_tenant: undefined }), 'unsigned:  signed');
    assert.equal(judgeValue(event, { pulse_tenant: 'nobody' }), 'unsigned:  signed');
    assert.equal(judgeValue(event, { pulse_tenant: '../../etc' }), 'unsigned:  signed');
    const judged = judge(rawRecord(event, { headers: { pulse_tenant: 'nobody' } }), sharedTopic());
    assert.equal(judged.subject.tenantId, '_platform');
  });

  test('is the owner on a dedicated topic, signed or not', () => {
    const signed = accepted(judge(rawRecord(event), dedicated));
    assert.equal(signed.subject.receivedAtMs, receivedAtMs);
    const outside = accepted(
      judge(rawRecord(event, { headers: { pulse_tenant: undefined, pulse_attempt: '9' } }), dedicated),
    );
    assert.equal(outside.subject.tenantId, 'acme');
    assert.equal(outside.subject.receivedAtMs, receivedAtMs + 2);
    assert.equal(outside.subject.attempt, 1);
  });

  test('never changes to another one on a dedicated topic', () => {
    const judged = judge(rawRecord(event, { headers: { pulse_tenant: 'globex' } }), dedicated);
    assert.equal(verdict(judged), 'unsigned:  signed');
    assert.equal(judged.subject.tenantId, 'acme');
  });

  test('does not make a receive time in the future believable', () => {
    const headers = { pulse_received_at: '2199-01-01T00:00:00.000Z' };
    assert.equal(judge(rawRecord(event, { headers }), dedicated).subject.receivedAtMs, receivedAtMs + 2);
  });
});

describe('event ids', () => {
  test('come from the event, then from collect, then from the position', () => {
    const ids = [
      rawRecord({ ...event, event_id: 'own' }, { headers: { ce_id: 'given' } }),
      rawRecord(event, { headers: { ce_id: 'given' } }),
      rawRecord(event, { offset: 5 }),
      rawRecord(event, { offset: 5 }),
    ].map((record) => accepted(judge(record, sharedTopic())).eventId);
    assert.deepEqual(ids.slice(0, 2), ['own', 'given']);
    assert.match(ids[2] as string, /^[0-9a-f-]{36}$/);
    assert.equal(ids[2], ids[3]);
  });
});

describe('CloudEvents', () => {
  const attributes = { specversion: '1.0', id: '1', source: '/shop', type: 'order.placed' };
  const structured = { pulse_protocol: 'cloudevents-structured' };
  const binary = {
    pulse_protocol: 'cloudevents-binary',
    ce_specversion: '1.0',
    ce_id: '1',
    ce_source: '/shop',
    ce_type: 'order.placed',
  };

  test('in structured mode carry any JSON, base64 or nothing', () => {
    const dataOf = (facts: object): string =>
      accepted(
        judge(rawRecord({ ...attributes, ...facts }, { headers: structured }), sharedTopic()),
      ).envelope.data.toString();
    assert.equal(dataOf({ data: [1, 2] }), '[1,2]');
    assert.equal(dataOf({ data: 'text' }), '"text"');
    assert.equal(dataOf({}), 'null');
    assert.equal(dataOf({ data_base64: 'AAE=' }), '{"data_base64":"AAE="}');
  });

  test('in structured mode show every missing attribute', () => {
    assert.equal(
      judgeValue({ data: {}, data_base64: 5, time: 'x' }, structured),
      'invalid_envelope: /id required, /type required, /source required, /specversion required, ' +
        '/data_base64 exclusive, /data_base64 type, /time format',
    );
  });

  test('in binary mode carry JSON as it is and anything else as base64', () => {
    const dataOf = (value: string | Buffer, contentType: string | undefined): string => {
      const record = rawRecord(value, { headers: { ...binary, content_type: contentType } });
      return accepted(judge(record, sharedTopic())).envelope.data.toString();
    };
    assert.equal(
      dataOf('{"big":9007199254740993}', 'application/json; charset=utf-8'),
      '{"big":9007199254740993}',
    );
    assert.equal(dataOf('{"a":1}', 'application/vnd.shop+json'), '{"a":1}');
    assert.equal(dataOf(Buffer.from([0, 255]), 'image/png'), '{"data_base64":"AP8="}');
    assert.equal(dataOf('[1]', undefined), '[1]');
    assert.equal(
      dataOf('no json', undefined),
      `{"data_base64":"${Buffer.from('no json').toString('base64')}"}`,
    );
    assert.equal(dataOf('', 'application/json'), 'null');
    assert.equal(judgeValue('{', { ...binary, content_type: 'application/json' }), 'unparseable:  json');
  });

  test('keep extensions and are identified by source and id', () => {
    const record = rawRecord('{}', { headers: { ...binary, ce_partitionkey: 'k', ce_time: receivedAt } });
    const { envelope, eventTimeMs } = accepted(judge(record, sharedTopic()));
    assert.equal(envelope.extensions, '"partitionkey":"k"');
    assert.equal(envelope.identitySource, '/shop');
    assert.equal(eventTimeMs, receivedAtMs);
  });

  test('of an outside producer are known by their headers', () => {
    const outside = { pulse_tenant: undefined, pulse_protocol: undefined };
    const dedicated: TopicFacts = { ...sharedTopic(), ownerId: 'acme' };
    const protocolOf = (headers: Record<string, string | undefined>): string =>
      judge(rawRecord('{}', { headers: { ...outside, ...headers } }), dedicated).subject.protocol;
    assert.equal(protocolOf({ ...binary, ...outside }), 'cloudevents-binary');
    assert.equal(
      protocolOf({ content_type: 'application/cloudevents+json; charset=utf-8' }),
      'cloudevents-structured',
    );
    assert.equal(protocolOf({}), 'native');
  });

  test('whose headers hold what no store can hold are unstorable', () => {
    assert.equal(judgeValue('{}', { ...binary, ce_subject: 'a\0b' }), 'unstorable_value: /subject unicode');
  });
});

test('a step that throws makes a dead letter, not a crash', () => {
  const judged = judge(rawRecord(event), sharedTopic(tenant('acme', { lookups: null as unknown as [] })));
  assert.equal(verdict(judged), 'processing_failed:  internal');
});
