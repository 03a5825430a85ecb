// What the writer does under load and at its limits.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { hasCode } from '../../../core/errors.ts';
import { logCounts } from './metrics.ts';
import { logFolder, record, smallSegments } from './testing/log-folder.ts';

const topic = { partitions: 1, retentionMs: 0, retentionBytes: 0 };
const plenty = { recordsMax: 100_000, bytesMax: 1e9 };

test('gathers all appends that wait into one group commit', async (t) => {
  const log = await (await logFolder(t)).open();
  await log.createTopic('t', topic);
  await log.append('t', [record(0, 'first')]);
  const before = logCounts.groups;
  await Promise.all(Array.from({ length: 500 }, (_, i) => log.append('t', [record(0, `${i}`)])));
  assert.equal(logCounts.groups - before, 1);
});

test('refuses appends beyond the pending bytes, stores nothing of them, and takes more once the disk caught up', async (t) => {
  const log = await (await logFolder(t)).open({ ...smallSegments, PULSE_LOG_PENDING_BYTES_MAX: 20_000 });
  await log.createTopic('t', topic);
  await log.append('t', [record(0, 'first')]);
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, (_, i) => log.append('t', [record(0, `${i} `.padEnd(1_000, 'x'))])),
  );
  const stored = results.filter((result) => result.status === 'fulfilled').length;
  assert.ok(stored > 5 && stored <= 20);
  for (const result of results) {
    if (result.status === 'rejected')
      assert.ok(hasCode(result.reason, 'PULSE_LOG_OVERLOADED') && result.reason.retryable);
  }
  await log.append('t', [record(0, 'last')]);
  assert.equal((await log.bounds('t'))[0]?.end, stored + 2);
  const large = Array.from({ length: 30 }, () => record(0, 'x'.repeat(1_000)));
  await assert.rejects(log.append('t', large), (error) => hasCode(error, 'PULSE_LOG_RECORD_INVALID'));
});

test('keeps one call in one group, even beyond the size of a group and of a segment (I3)', async (t) => {
  const folder = await logFolder(t);
  const log = await folder.open({ ...smallSegments, PULSE_LOG_GROUP_BYTES_MAX: 2_000 });
  await log.createTopic('t', topic);
  const before = logCounts.groups;
  await log.append(
    't',
    Array.from({ length: 100 }, (_, i) => record(0, `${i} `.padEnd(1_000, 'x'))),
  );
  assert.equal(logCounts.groups - before, 1);
  await log.append('t', [record(0, 'next')]);
  const reader = await folder.open();
  assert.equal((await reader.read('t', 0, 0, plenty)).length, 101);
});

test('fills the next segment with zeros before it is needed', async (t) => {
  const folder = await logFolder(t);
  const settings = { PULSE_LOG_SEGMENT_BYTES_MIN: 65_536, PULSE_LOG_SEGMENT_BYTES_MAX: 262_144 };
  const log = await folder.open({ ...settings, PULSE_LOG_PREPARE_BYTES_PER_SECOND: 2 ** 40 });
  await log.createTopic('t', topic);
  for (let i = 0; i < 12; i++) {
    await log.append('t', [record(0, 'x'.repeat(10_000))]);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const sizes = await Promise.all(
    (await folder.segments('t')).map(async (path) => (await readFile(path)).length),
  );
  assert.deepEqual(sizes, [65_536, 131_072]);
});
