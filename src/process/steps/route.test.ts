// Facts about the records that process writes: bytes are kept, positions are carried, the log's limits hold.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawRecord, receivedAt, sharedTopic } from '../testing/records.ts';
import { type JudgedDeadLetter, type JudgedEvent, judge } from './judge.ts';
import { toDeadLetterRecord, toValidRecord } from './route.ts';

const topic = sharedTopic();

function judgedEvent(text: string, headers: Record<string, string> = {}): JudgedEvent {
  const judged = judge(rawRecord(text, { headers, partition: 2, offset: 41 }), topic);
  assert.equal(judged.kind, 'event');
  return judged as JudgedEvent;
}

test('a valid record is the whole envelope in its order', () => {
  const event = judgedEvent(
    `{"event_id":"e\\"1","event_type":"a","event_time":"${receivedAt}","subject":"s","source":"q","schema_version":"2","data":{}}`,
    { pulse_idempotency_key: 'k', pulse_request_id: 'r', ce_extra: 'x' },
  );
  const record = toValidRecord(event, { epoch: 7, partition: 2, offset: 39 });
  const value = JSON.parse(record.value.toString()) as Record<string, unknown>;
  assert.deepEqual(value, {
    event_id: 'e"1',
    tenant_id: 'acme',
    event_type: 'a',
    event_time: receivedAt,
    received_at: receivedAt,
    schema_version: '2',
    subject: 's',
    source: 'q',
    idempotency_key: 'k',
    request_id: 'r',
    protocol: 'native',
    attempt: 1,
    trace_id: null,
    enrichment: { delay_ms: 0 },
    data: {},
  });
  assert.equal(record.partition, 2);
  assert.equal(record.headers['pulse_source'], '7.2.41');
  assert.equal(record.headers['pulse_previous_source'], '7.2.39');
  assert.equal(record.headers['ce_extra'], 'x');
  assert.equal(toValidRecord(event, null).headers['pulse_previous_source'], undefined);
});

test('data is spliced in byte by byte, whatever JSON it is', () => {
  let state = 12_345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state % below;
  };
  const pieces = ['é€😀', 'a"b', 'x\\y', '}', '{', '],[', ' ', '\u2028', 'data', ':,', ''];
  const space = (): string => ['', ' ', '\n\t', ''][random(4)] as string;
  const make = (depth: number): string => {
    const kind = random(depth > 4 ? 5 : 8);
    if (kind === 0) return ['0', '-1.50', '9007199254740993', '1E2', '0.1e-7'][random(5)] as string;
    if (kind === 1) return ['true', 'false', 'null'][random(3)] as string;
    if (kind <= 4) return JSON.stringify(`${pieces[random(pieces.length)]}${pieces[random(pieces.length)]}`);
    const items = Array.from({ length: random(4) }, () => make(depth + 1));
    if (kind === 5) return `[${space()}${items.join(`${space()},${space()}`)}${space()}]`;
    const members = items.map(
      (item) => `${JSON.stringify(pieces[random(pieces.length)])}${space()}:${space()}${item}`,
    );
    return `{${space()}${members.join(`${space()},`)}${space()}}`;
  };
  for (let run = 0; run < 500; run++) {
    const data = `{${space()}"v"${space()}:${make(0)}${space()},"dup":1,"dup":2}`;
    const text = `${space()}{${space()}"extra":${make(2)},"event_type"${space()}:"a",${space()}"data":${space()}${data}${space()}}${space()}`;
    const value = judgedEvent(text).value.toString();
    assert.ok(value.endsWith(`,"data":${data}}`), text);
    const original = JSON.parse(text) as { data: unknown; extra: unknown };
    const written = JSON.parse(value) as { data: unknown; enrichment: { extensions: { extra: unknown } } };
    assert.deepEqual(written.data, original.data);
    assert.deepEqual(written.enrichment.extensions.extra, original.extra);
  }
});

test('a dead letter keeps the original bytes and headers', () => {
  const record = rawRecord('{"event_type":', { partition: 5, offset: 8, headers: { pulse_request_id: 'r' } });
  const written = toDeadLetterRecord(judge(record, topic) as JudgedDeadLetter, 3);
  assert.equal(written.partition, 2);
  assert.deepEqual(written.value, record.value);
  assert.equal(written.headers['pulse_request_id'], 'r');
  assert.equal(written.headers['pulse_source'], '7.5.8');
  assert.equal(written.headers['pulse_dead_letter_code'], 'unparseable');
  const failures = JSON.parse(written.headers['pulse_dead_letter_failures'] as string) as { rule: string }[];
  assert.equal(failures[0]?.rule, 'json');
});

test('records keep the limits of the log although a raw record fills them', () => {
  const crowd = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`ce_extension${i}`, 'x'.repeat(900)]),
  );
  const numbers = Array(100).fill('1e999').join(',');
  const text = `{"event_type":"a","data":{"${'n'.repeat(900)}":[${numbers}]}}`;
  const letter = judge(rawRecord(text, { headers: crowd }), topic) as JudgedDeadLetter;
  for (const record of [
    toDeadLetterRecord(letter, 3),
    toValidRecord(judgedEvent('{"event_type":"a","data":{}}', crowd), null),
  ]) {
    const entries = Object.entries(record.headers);
    const bytes = entries.reduce(
      (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
      0,
    );
    assert.ok(entries.length <= 64 && bytes <= 65_536, `${entries.length} headers, ${bytes} bytes`);
    assert.equal(record.headers['pulse_source'] !== undefined, true);
  }
});
