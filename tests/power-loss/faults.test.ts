// A full disk and failing syncs, one at a time: nothing is acknowledged that is not durable, and the log helps itself.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { hasCode } from '../../src/core/errors.ts';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../../src/ports/event-log/embedded/index.ts';
import type { LogRecord } from '../../src/ports/event-log/event-log.ts';
import { type Faults, MemoryDisk } from './memory-disk.ts';
import { SeededRandom } from './random.ts';

const settings = {
  PULSE_LOG_SEGMENT_BYTES_MIN: 8_192,
  PULSE_LOG_SEGMENT_BYTES_MAX: 8_192,
  PULSE_LOG_PREPARE_BYTES_PER_SECOND: 2 ** 50,
};
const plenty = { recordsMax: 10_000, bytesMax: 10_000_000 };

async function openOn(t: TestContext, disk: MemoryDisk, faults: Faults): Promise<EmbeddedEventLog> {
  const fileSystem = disk.mount(faults);
  await fileSystem.createDirectory('/data');
  await fileSystem.syncDirectory('/');
  const log = await createEmbeddedEventLog({
    directory: '/data/log',
    fileSystem,
    settings,
    logger: pino({ level: 'silent' }),
  });
  t.after(() => log.close().catch(() => undefined));
  await log.createTopic('t', { partitions: 1, retentionMs: 0, retentionBytes: 0 });
  return log;
}

function record(text: string): LogRecord {
  return { partition: 0, key: null, headers: {}, value: Buffer.from(text) };
}

async function values(log: EmbeddedEventLog): Promise<string[]> {
  return (await log.read('t', 0, 0, plenty)).map((one) => one.value.toString().trim());
}

test('answers a full disk with PULSE_LOG_DISK_FULL and takes records again when space returns', async (t) => {
  const disk = new MemoryDisk(new SeededRandom(1));
  const faults: Faults = { bytesMax: 60_000 };
  const log = await openOn(t, disk, faults);
  const stored: string[] = [];
  let refused = 0;
  for (let i = 0; i < 200 && refused < 20; i++) {
    try {
      await log.append('t', [record(`${i}`.padEnd(500))]);
      stored.push(`${i}`);
    } catch (error) {
      assert.ok(hasCode(error, 'PULSE_LOG_DISK_FULL') && error.retryable && error.retryAfterMs !== undefined);
      refused++;
    }
  }
  assert.equal(refused, 20);
  assert.deepEqual(await values(log), stored);
  delete faults.bytesMax;
  await log.append('t', [record('space again')]);
  disk.goDown('power');
  const again = await openOn(t, disk, {});
  assert.deepEqual(await values(again), [...stored, 'space again']);
});

test('does not retry a failed fdatasync: fails the waiting appends, cuts, and continues', async (t) => {
  const disk = new MemoryDisk(new SeededRandom(2));
  const faults: Faults = {};
  const log = await openOn(t, disk, faults);
  await log.append('t', [record('before')]);
  let calls = 0;
  faults.failSync = () => ++calls === 1;
  const waiting = ['one', 'two', 'three'].map((text) => log.append('t', [record(text)]));
  for (const result of await Promise.allSettled(waiting)) {
    assert.ok(result.status === 'rejected' && hasCode(result.reason, 'PULSE_LOG_FAILED'));
  }
  assert.deepEqual(await log.append('t', [record('after')]), [1]);
  assert.deepEqual(await values(log), ['before', 'after']);
  disk.goDown('power');
  const again = await openOn(t, disk, {});
  assert.deepEqual(await values(again), ['before', 'after']);
});

test('goes on refusing while every fdatasync fails, and recovers when they succeed', async (t) => {
  const faults: Faults = {};
  const log = await openOn(t, new MemoryDisk(new SeededRandom(3)), faults);
  await log.append('t', [record('before')]);
  faults.failSync = () => true;
  for (let i = 0; i < 5; i++) {
    await assert.rejects(log.append('t', [record('lost')]), (error) => hasCode(error, 'PULSE_LOG_FAILED'));
  }
  faults.failSync = () => false;
  await log.append('t', [record('after')]);
  assert.deepEqual(await values(log), ['before', 'after']);
});

test('refuses the first append of a topic when the disk is full from the start', async (t) => {
  const faults: Faults = {};
  const disk = new MemoryDisk(new SeededRandom(4));
  const log = await openOn(t, disk, faults);
  faults.bytesMax = disk.usedBytes();
  await assert.rejects(log.append('t', [record('x')]), (error) => hasCode(error, 'PULSE_LOG_DISK_FULL'));
  delete faults.bytesMax;
  assert.deepEqual(await log.append('t', [record('x')]), [0]);
});
