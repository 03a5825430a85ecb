// Records as bytes: what goes in comes out, at the limits too.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../../core/errors.ts';
import type { LogRecord } from '../event-log.ts';
import { checkGroup, GroupBuilder } from './group-codec.ts';
import { decodeRecord, recordBytesAt } from './record-codec.ts';

const incarnation = Buffer.alloc(16, 9);

function roundTrip(records: readonly LogRecord[]): LogRecord[] {
  const builder = new GroupBuilder(64);
  builder.add(records, [100, 200]);
  const bytes = builder.seal(7, 1_234_567_890_123, incarnation);
  const check = checkGroup(bytes, 0, bytes.length, incarnation);
  assert.equal(check.kind, 'group');
  if (check.kind !== 'group') return [];
  const { group } = check;
  assert.deepEqual(
    [group.sequence, group.appendTimeMs, group.recordCount],
    [7, 1_234_567_890_123, records.length],
  );
  const found: LogRecord[] = [];
  for (let at = group.recordsStart; at < group.recordsEnd; at += recordBytesAt(bytes, at)) {
    const { partition, key, headers, value } = decodeRecord(bytes, at, 0, 0);
    found.push({ partition, key, headers, value: Buffer.from(value) });
  }
  return found;
}

test('reads back what was written: empty, foreign and long texts, and every byte', () => {
  const records: LogRecord[] = [
    { partition: 0, key: null, headers: {}, value: Buffer.alloc(0) },
    { partition: 1, key: '', headers: { ce_id: '' }, value: Buffer.from([0, 255]) },
    {
      partition: 0,
      key: '日本語',
      headers: { x: '€', ce_id: 'é😀', pulse_source: '1.2.3' },
      value: Buffer.from('v'),
    },
    {
      partition: 1,
      key: 'k'.repeat(65_536),
      headers: { ['n'.repeat(255)]: 'v'.repeat(65_000) },
      value: Buffer.alloc(9),
    },
  ];
  assert.deepEqual(roundTrip(records), records);
});

test('keeps a lone surrogate as U+FFFD without shifting the texts behind it', () => {
  const [read] = roundTrip([
    { partition: 0, key: 'a\ud800', headers: { x: '\udfff!', y: 'z' }, value: Buffer.alloc(0) },
  ]);
  assert.deepEqual(read?.headers, { x: '\ufffd!', y: 'z' });
  assert.equal(read?.key, 'a\ufffd');
});

test('takes offsets back when a later record of the call is refused', () => {
  const builder = new GroupBuilder(64);
  const ends = [5, 5];
  const good = { partition: 0, key: null, headers: {}, value: Buffer.from('x') };
  builder.add([good], ends);
  const used = builder.usedBytes;
  const bad = { ...good, headers: { BAD: 'x' } };
  assert.throws(
    () => builder.add([good, { ...good, partition: 1 }, bad], ends),
    (error) => hasCode(error, 'PULSE_LOG_RECORD_INVALID'),
  );
  assert.deepEqual(ends, [6, 5]);
  assert.equal(builder.usedBytes, used);
  assert.deepEqual(builder.add([{ ...good, partition: 1 }], ends), [5]);
});

test('finds any single flipped bit of a group', () => {
  const builder = new GroupBuilder(64);
  builder.add([{ partition: 0, key: 'k', headers: { ce_id: '1' }, value: Buffer.from('value') }], [0]);
  const bytes = Buffer.from(builder.seal(1, 1, incarnation));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.notEqual(checkGroup(flipped, 0, flipped.length, incarnation).kind, 'group', `bit ${bit}`);
  }
});
