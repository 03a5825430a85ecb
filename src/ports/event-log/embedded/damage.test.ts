// Torn tails are cut off; anything else that is broken is named and stops its topic. Nothing is ever skipped.
import assert from 'node:assert/strict';
import { copyFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../../core/errors.ts';
import type { PartitionBatch } from '../event-log.ts';
import { nodeFileSystem } from './file-system.ts';
import type { EmbeddedEventLog } from './index.ts';
import { readJournal } from './recovery.ts';
import { change, type LogFolder, logFolder, record, spoilHead } from './testing/log-folder.ts';
import { readTopic, type TopicDescription } from './topic-files.ts';
import { verifyLog } from './verify.ts';

const plenty = { recordsMax: 1_000, bytesMax: 1_000_000 };

/** A topic `t` with one group per value; returns where each group begins, and where the last one ends. */
async function written(
  t: TestContext,
  values: readonly string[],
): Promise<{ folder: LogFolder; path: string; places: number[] }> {
  const folder = await logFolder(t);
  const log = await folder.open();
  await log.createTopic('t', { partitions: 1, retentionMs: 0, retentionBytes: 0 });
  for (const value of values) await log.append('t', [record(0, value, { ce_id: value })]);
  await log.close();
  const path = (await folder.segments('t'))[0] as string;
  const bytes = await readFile(path);
  const places: number[] = [];
  for (let at = bytes.indexOf('PGRP'); at >= 0; at = bytes.indexOf('PGRP', at + 1)) places.push(at);
  places.push((places.at(-1) as number) + 56 + bytes.readUInt32LE((places.at(-1) as number) + 12));
  return { folder, path, places };
}

async function values(log: EmbeddedEventLog): Promise<string[]> {
  return (await log.read('t', 0, 0, plenty)).map((one) => one.value.toString());
}

test('cuts a torn last group at every byte of the last three groups (I6)', async (t) => {
  const { folder, path, places } = await written(t, ['a', 'b', 'c', 'd']);
  const whole = await readFile(path);
  const topic = (await readTopic(nodeFileSystem, folder.directory, 't')) as TopicDescription;
  const [, first, second, third, end] = places as [number, number, number, number, number];
  for (const kept of ['zeros', 'short'] as const) {
    for (let at = first; at < end; at += 1) {
      const bytes = kept === 'zeros' ? Buffer.from(whole).fill(0, at) : whole.subarray(0, at);
      await writeFile(path, bytes);
      await spoilHead(folder, 't');
      const survivors = at < second ? 1 : at < third ? 2 : 3;
      const { end: found, unfinished } = await readJournal(nodeFileSystem, topic, null);
      // The last bytes of a group are zeros themselves where an offset is small: then nothing is missing.
      const isWhole = kept === 'zeros' && found.sequence === survivors + 1;
      assert.ok(found.sequence === survivors || isWhole, `cut at ${at}`);
      assert.equal(unfinished === null, places.includes(at) || isWhole, `cut at ${at}`);
      if (at % 16 !== 0) continue;
      const log = await folder.open();
      await log.append('t', [record(0, 'new')]);
      assert.deepEqual(
        await values(log),
        [...['a', 'b', 'c', 'd'].slice(0, found.sequence), 'new'],
        `cut at ${at}`,
      );
      await log.close();
    }
  }
});

test('names a flipped bit anywhere in a middle group and never skips it (I6, I10)', async (t) => {
  const { folder, path, places } = await written(t, ['a', 'b', 'c']);
  const whole = await readFile(path);
  const [, start, end] = places as [number, number, number];
  for (const head of ['kept', 'spoiled'] as const) {
    if (head === 'spoiled') await spoilHead(folder, 't');
    for (let at = start; at < end; at++) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
      await writeFile(path, bytes);
      const log = await folder.open();
      const named = (error: unknown): boolean => {
        assert.ok(hasCode(error, 'PULSE_LOG_CORRUPT'));
        assert.deepEqual(error.details, { file: path, byte: start });
        return true;
      };
      await assert.rejects(log.append('t', [record(0, 'x')]), named, `byte ${at}`);
      if (head === 'kept') {
        assert.deepEqual((await log.read('t', 0, 0, { ...plenty, recordsMax: 1 })).length, 1);
        await assert.rejects(log.read('t', 0, 1, plenty), named);
        await assert.rejects(log.read('t', 0, 2, plenty), named);
      } else await assert.rejects(log.bounds('t'), named);
      await log.close();
    }
  }
});

test('refuses a broken last group that was durable, while the head still says so (I6)', async (t) => {
  const { folder, path, places } = await written(t, ['a', 'b']);
  await change(path, (bytes) => bytes.fill(0, places[1]));
  const log = await folder.open();
  await assert.rejects(log.append('t', [record(0, 'x')]), (error) => hasCode(error, 'PULSE_LOG_CORRUPT'));
  const [topic] = (await verifyLog(folder.directory)).topics;
  assert.deepEqual([topic?.problem?.kind, topic?.problem?.byte], ['corrupt', places[1]]);
});

test('reports a torn tail as torn, with file and byte, without touching it', async (t) => {
  const { folder, path, places } = await written(t, ['a', 'b']);
  await truncate(path, (places[2] as number) - 3);
  await spoilHead(folder, 't');
  const before = await readFile(path);
  const [topic] = (await verifyLog(folder.directory)).topics;
  assert.deepEqual(
    [topic?.problem?.kind, topic?.problem?.file, topic?.problem?.byte],
    ['unfinished', path, places[1]],
  );
  assert.deepEqual(topic?.partitions, [{ earliest: 0, end: 1, records: 1 }]);
  assert.deepEqual(await readFile(path), before);
});

/** A topic of four segments or more, with 60 records of 1 KB. */
async function manySegments(t: TestContext): Promise<{ folder: LogFolder; segments: readonly string[] }> {
  const folder = await logFolder(t);
  const log = await folder.open();
  for (const topic of ['t', 'healthy']) {
    await log.createTopic(topic, { partitions: 2, retentionMs: 0, retentionBytes: 0 });
    for (let i = 0; i < 60; i++) await log.append(topic, [record(i % 2, `${i} `.padEnd(1_000, 'x'))]);
  }
  await log.close();
  const segments = await folder.segments('t');
  assert.ok(segments.length >= 4);
  return { folder, segments };
}

test('cuts a whole last group that was never published: its sync may have failed (I7)', async (t) => {
  const { folder, path, places } = await written(t, ['a', 'b']);
  const head = join(folder.directory, 'topics', 't', 'head');
  const published = await readFile(head);
  let log = await folder.open();
  await log.append('t', [record(0, 'never published')]);
  await log.close();
  await writeFile(head, published);
  const [topic] = (await verifyLog(folder.directory)).topics;
  assert.deepEqual(
    [topic?.problem?.kind, topic?.problem?.file, topic?.problem?.byte],
    ['unfinished', path, places[2]],
  );
  log = await folder.open();
  await log.append('t', [record(0, 'c')]);
  assert.deepEqual(await values(log), ['a', 'b', 'c']);
});

test('removes a segment that holds nothing but a group that was never published', async (t) => {
  const { folder, segments } = await manySegments(t);
  const head = join(folder.directory, 'topics', 't', 'head');
  let log = await folder.open();
  const before = segments.length;
  for (let published = await readFile(head); ; published = await readFile(head)) {
    const [offset] = await log.append('t', [record(0, 'x'.repeat(1_000))]);
    const after = (await folder.segments('t')).length;
    if (after === before) continue;
    await log.close();
    await writeFile(head, published);
    log = await folder.open();
    assert.deepEqual(await log.append('t', [record(0, 'instead')]), [offset]);
    const [read] = await log.read('t', 0, offset as number, plenty);
    assert.equal(read?.value.toString(), 'instead');
    assert.equal((await log.read('t', 0, 0, plenty)).length, (offset as number) + 1);
    return;
  }
});

test('keeps everything behind a head that is an old copy, as a backup may hold one', async (t) => {
  const { folder } = await written(t, ['a', 'b']);
  const head = join(folder.directory, 'topics', 't', 'head');
  const old = await readFile(head);
  let log = await folder.open();
  for (const value of ['c', 'd']) await log.append('t', [record(0, value)]);
  await log.close();
  await writeFile(head, old);
  log = await folder.open();
  await log.append('t', [record(0, 'e')]);
  assert.deepEqual(await values(log), ['a', 'b', 'c', 'd', 'e']);
});

test('verifies a whole log: every group, record and offset', async (t) => {
  const { folder, segments } = await manySegments(t);
  const report = await verifyLog(folder.directory);
  const found = report.topics.find((topic) => topic.topic === 't');
  assert.equal(found?.problem, null);
  assert.equal(found?.segments, segments.length);
  assert.equal(found?.groups, 60);
  assert.deepEqual(
    found?.partitions,
    [0, 1].map(() => ({ earliest: 0, end: 30, records: 30 })),
  );
});

test('meets damage in a sealed segment when it reads there, while other topics go on', async (t) => {
  const { folder, segments } = await manySegments(t);
  const path = segments[1] as string;
  await change(path, (bytes) => bytes.fill(0xff, 5_000, 5_001));
  const log = await folder.open();
  const consumer = await log.consume({ group: 'g', topics: ['t', 'healthy'], from: 'earliest' });
  const found: PartitionBatch[] = [];
  let errors = 0;
  for (let i = 0; i < 40; i++) {
    try {
      found.push(...(await consumer.poll({ ...plenty, recordsMax: 10, waitMs: 0 })));
    } catch (error) {
      assert.ok(hasCode(error, 'PULSE_LOG_CORRUPT') && error.message.includes(path));
      errors++;
    }
  }
  assert.ok(errors > 1, 'the error keeps being thrown');
  const count = (topic: string): number =>
    found.filter((batch) => batch.topic === topic).reduce((sum, batch) => sum + batch.records.length, 0);
  assert.equal(count('healthy'), 60);
  assert.ok(count('t') > 0 && count('t') < 30);
  // Appends go on: the damage lies behind, in records that were read or can be restored.
  assert.deepEqual(await log.append('t', [record(0, 'more')]), [30]);
  const topic = (await verifyLog(folder.directory)).topics.find((one) => one.topic === 't');
  assert.deepEqual([topic?.problem?.kind, topic?.problem?.file], ['corrupt', path]);
});

test('names a segment that is missing in the middle, or at the end', async (t) => {
  const { folder, segments } = await manySegments(t);
  for (const missing of [segments[1] as string, segments.at(-1) as string]) {
    await copyFile(missing, `${missing}.kept`);
    await rm(missing);
    const log = await folder.open();
    const named = (error: unknown): boolean =>
      hasCode(error, 'PULSE_LOG_CORRUPT') && error.message.includes(missing);
    await assert.rejects(log.bounds('t'), named);
    await assert.rejects(log.append('t', [record(0, 'x')]), named);
    await log.close();
    await copyFile(`${missing}.kept`, missing);
  }
});

test('goes on reading once a damaged segment is restored, without a restart', async (t) => {
  const { folder, segments } = await manySegments(t);
  const path = segments[1] as string;
  const whole = await readFile(path);
  await change(path, (bytes) => bytes.fill(0xff, 5_000, 5_001));
  const log = await folder.open();
  await assert.rejects(log.read('t', 0, 6, plenty), (error) => hasCode(error, 'PULSE_LOG_CORRUPT'));
  await writeFile(path, whole);
  assert.equal((await log.read('t', 0, 0, plenty)).length, 30);
});

test('refuses a topic of another format version', async (t) => {
  const { folder } = await written(t, ['a']);
  await change(join(folder.directory, 'topics', 't', 'topic.json'), (bytes) =>
    Buffer.from(bytes.toString().replace('"format_version": 1', '"format_version": 2')),
  );
  const log = await folder.open();
  await assert.rejects(log.describeTopic('t'), (error) => hasCode(error, 'PULSE_LOG_FORMAT_UNKNOWN'));
  await assert.rejects(log.append('t', [record(0, 'x')]), (error) =>
    hasCode(error, 'PULSE_LOG_FORMAT_UNKNOWN'),
  );
});
