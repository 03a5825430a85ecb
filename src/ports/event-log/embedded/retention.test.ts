// Retention removes whole old segments, and never what a group has yet to read.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ManualClock } from '../../../core/clock.ts';
import { hasCode } from '../../../core/errors.ts';
import type { EmbeddedEventLog } from './index.ts';
import { type LogFolder, logFolder, record, smallSegments } from './testing/log-folder.ts';

const settings = { ...smallSegments, PULSE_LOG_COMMIT_SYNC_MS: 0 };
const plenty = { recordsMax: 10_000, bytesMax: 10_000_000 };

async function filled(
  t: TestContext,
  retention: { retentionMs: number; retentionBytes: number },
): Promise<{ folder: LogFolder; log: EmbeddedEventLog; clock: ManualClock }> {
  const folder = await logFolder(t);
  const clock = new ManualClock();
  const log = await folder.open(settings, clock);
  await log.createTopic('t', { partitions: 2, ...retention });
  for (let i = 0; i < 60; i++) {
    clock.advance(1_000);
    await log.append('t', [record(i % 2, `${i} `.padEnd(1_000, 'x'))]);
  }
  return { folder, log, clock };
}

test('removes segments beyond the size, and tells readers in other logs', async (t) => {
  const { folder, log } = await filled(t, { retentionMs: 0, retentionBytes: 40_000 });
  const reader = await folder.open(settings);
  assert.equal((await reader.bounds('t'))[0]?.earliest, 0);
  assert.ok((await log.removeExpired()) > 0);
  assert.ok((await folder.segments('t')).length * 16_384 <= 40_000 + 16_384);
  for (const one of [log, reader]) {
    const { earliest, end } = (await one.bounds('t'))[0] as { earliest: number; end: number };
    assert.ok(earliest > 0);
    assert.equal(end, 30);
    assert.equal((await one.read('t', 0, earliest, plenty))[0]?.offset, earliest);
    await assert.rejects(one.read('t', 0, earliest - 1, plenty), (error) =>
      hasCode(error, 'PULSE_LOG_OFFSET_LOST'),
    );
  }
  assert.equal(await log.removeExpired(), 0);
});

test('removes segments by the age of their appends, and keeps the last one always', async (t) => {
  const { folder, log, clock } = await filled(t, { retentionMs: 30_000, retentionBytes: 0 });
  await log.removeExpired();
  const [oldest] = await log.read('t', 0, (await log.bounds('t'))[0]?.earliest ?? 0, plenty);
  assert.ok((oldest?.appendTimeMs ?? 0) > clock.now() - 30_000 - 12_000);
  clock.advance(1_000_000);
  await log.removeExpired();
  assert.equal((await folder.segments('t')).length, 1);
  assert.equal((await log.bounds('t'))[0]?.end, 30);
  await log.close();
  const again = await folder.open(settings, clock);
  assert.deepEqual(await again.append('t', [record(0, 'next')]), [30]);
});

test('keeps what a group has not read until it is committed, or the group is dropped', async (t) => {
  const { log } = await filled(t, { retentionMs: 0, retentionBytes: 1 });
  const slow = await log.consume({ group: 'slow', topics: ['t'], from: 'earliest' });
  const dead = await log.consume({ group: 'dead', topics: ['t'], from: 'earliest' });
  assert.equal(await log.removeExpired(), 0);
  await slow.commit([0, 1].map((partition) => ({ topic: 't', partition, offset: 30 })));
  assert.equal(await log.removeExpired(), 0);
  assert.equal(await log.dropGroup('dead'), true);
  assert.equal(await log.dropGroup('dead'), false);
  assert.ok((await log.removeExpired()) > 0);
  await assert.rejects(dead.commit([{ topic: 't', partition: 0, offset: 1 }]), (error) =>
    hasCode(error, 'PULSE_LOG_FENCED'),
  );
});

test('keeps the unread records of a slow partition beside a fast one', async (t) => {
  const { log } = await filled(t, { retentionMs: 0, retentionBytes: 1 });
  const consumer = await log.consume({ group: 'g', topics: ['t'], from: 'earliest' });
  await consumer.commit([
    { topic: 't', partition: 0, offset: 30 },
    { topic: 't', partition: 1, offset: 12 },
  ]);
  await log.removeExpired();
  const bounds = await log.bounds('t');
  assert.ok((bounds[1]?.earliest ?? 99) <= 12);
  assert.ok((bounds[1]?.earliest ?? 0) > 0);
});

test('names a lost range to a consumer sent below the earliest offset, and goes on with its other partitions', async (t) => {
  const { log } = await filled(t, { retentionMs: 0, retentionBytes: 1 });
  await log.removeExpired();
  const consumer = await log.consume({ group: 'g', topics: ['t'], from: 'earliest' });
  consumer.seek({ topic: 't', partition: 0, offset: 0 });
  let lost = 0;
  const partitions = new Set<number>();
  for (let i = 0; i < 4; i++) {
    try {
      for (const batch of await consumer.poll({ ...plenty, waitMs: 0 })) partitions.add(batch.partition);
    } catch (error) {
      assert.ok(hasCode(error, 'PULSE_LOG_OFFSET_LOST'));
      lost++;
    }
  }
  assert.ok(lost > 0);
  assert.deepEqual([...partitions], [1]);
});

test('goes on when the segment at whose end a reader waited was removed', async (t) => {
  const { folder, log } = await filled(t, { retentionMs: 0, retentionBytes: 1 });
  const append = (): Promise<unknown> => log.append('t', [record(0, 'x'.repeat(1_000))]);
  for (let i = 0; i < 6; i++) await append();
  const full = (await folder.segments('t')).length;
  const consumer = await log.consume({ group: 'g', topics: ['t'], from: 'end' });
  assert.deepEqual(await consumer.poll({ ...plenty, waitMs: 0 }), []);
  await append();
  assert.equal(
    (await folder.segments('t')).length,
    full + 1,
    'the reader waits at the very end of a segment',
  );
  assert.equal(await log.removeExpired(), full);
  const [batch] = await consumer.poll({ ...plenty, waitMs: 0 });
  assert.deepEqual(
    batch?.records.map((one) => one.offset),
    [36],
  );
});
