// The EventLog port's promise as tests. Every adapter runs the same suite: see README.md for the table.
// Differences that an engine declares in `capabilities` are tested as declared.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode } from '../../core/errors.ts';
import {
  type ContractTarget,
  type MakeTarget,
  options,
  pass,
  plenty,
  poll,
  record,
  recordsOf,
  take,
  texts,
  use,
  useTopic,
} from './contract-support.ts';

/** Runs the suite against an adapter. `isSkipped` says why not, so that a missing engine shows as a skip. */
export function describeEventLog(
  name: string,
  makeTarget: () => Promise<ContractTarget>,
  isSkipped: string | false = false,
): void {
  describe(`EventLog contract: ${name}`, { skip: isSkipped }, () => {
    topicTests(makeTarget);
    appendTests(makeTarget);
    readTests(makeTarget);
    consumerTests(makeTarget);
    groupTests(makeTarget);
    closeTests(makeTarget);
  });
}

function topicTests(makeTarget: MakeTarget): void {
  test('makes a topic once, however many ask at the same time', async (t) => {
    const { open } = await use(t, makeTarget);
    const [log, other] = [await open(), await open()];
    const made = await Promise.all(
      [1, 2, 3, 4].map((i) => (i % 2 ? log : other).createTopic('events', options)),
    );
    assert.equal(new Set(made.map((info) => info.incarnation)).size, 1);
    assert.equal(made[0]?.partitions, 3);
  });

  test('keeps partitions and incarnation of an existing topic, also over a re-open', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    const before = await log.describeTopic('events');
    await log.close();
    const again = await open();
    assert.deepEqual(await again.createTopic('events', { ...options, partitions: 7 }), before);
    assert.deepEqual(await again.describeTopic('events'), before);
  });

  test('describes an unknown topic as null and refuses to use it', async (t) => {
    const { open } = await use(t, makeTarget);
    const log = await open();
    const unknown = (error: unknown): boolean => hasCode(error, 'PULSE_LOG_TOPIC_UNKNOWN');
    assert.equal(await log.describeTopic('nothing'), null);
    await assert.rejects(log.append('nothing', [record(0, 'a')]), unknown);
    await assert.rejects(log.bounds('nothing'), unknown);
    await assert.rejects(log.read('nothing', 0, 0, plenty), unknown);
    await assert.rejects(log.consume({ group: 'g', topics: ['nothing'], from: 'earliest' }), unknown);
  });
}

function appendTests(makeTarget: MakeTarget): void {
  test('returns one offset per record, in order, contiguous per partition', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    assert.deepEqual(await log.append('events', []), []);
    const batch = [record(0, 'a'), record(1, 'b'), record(0, 'c'), record(2, 'd'), record(0, 'e')];
    assert.deepEqual(await log.append('events', batch), [0, 0, 1, 0, 2]);
    assert.deepEqual(await log.append('events', batch), [3, 1, 4, 1, 5]);
    assert.deepEqual(texts(await log.read('events', 0, 0, plenty)), ['a', 'c', 'e', 'a', 'c', 'e']);
  });

  test('keeps the order of concurrent appends within a partition', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    const resolved: number[] = [];
    const calls = Array.from({ length: 300 }, async (_, i) => {
      const offsets = await log.append('events', [record(1, `${i}`), record(1, `${i}+`)]);
      resolved.push(i);
      return offsets;
    });
    const offsets = await Promise.all(calls);
    assert.deepEqual(
      offsets,
      Array.from({ length: 300 }, (_, i) => [2 * i, 2 * i + 1]),
    );
    assert.deepEqual(
      resolved,
      Array.from({ length: 300 }, (_, i) => i),
    );
  });

  test('keeps value, key and headers exactly', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const many = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`h_${i}`, `ä€😀${i}`]));
    const proto = JSON.parse('{"__proto__":"own","ce_id":"1","content_type":""}') as Record<string, string>;
    const sent = [
      record(0, '', { key: '' }),
      record(0, '', { value: bytes, key: 'schlüssel', headers: many }),
      record(0, '', { value: new Uint8Array(bytes.subarray(5, 9)), headers: proto }),
      record(0, '', { value: Buffer.alloc(2 * 1_048_576, 7), headers: { ce_subject: 'x'.repeat(60_000) } }),
    ];
    await log.append('events', sent);
    for (const reader of [log, await open()]) {
      const read = await reader.read('events', 0, 0, plenty);
      assert.deepEqual(
        read.map(({ key, headers, value }) => ({ key, headers, value: value.toString('hex') })),
        sent.map(({ key, headers, value }) => ({ key, headers, value: Buffer.from(value).toString('hex') })),
      );
    }
  });

  test('keeps shared headers beside the own headers of each record', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    const first = { pulse_tenant: 'a', x_size: 'größe 😀' };
    const second = { pulse_tenant: 'b' };
    const shared = [first, first, second, undefined, first];
    const sent = shared.map((sharedHeaders, i) =>
      record(0, `v${i}`, {
        key: `k${i}`,
        headers: { ce_id: `é${i}`, h_own: String(i) },
        ...(sharedHeaders === undefined ? {} : { sharedHeaders }),
      }),
    );
    await log.append('events', sent);
    const read = await (await open()).read('events', 0, 0, plenty);
    assert.deepEqual(
      read.map(({ key, headers, value }) => ({ key, headers: { ...headers }, value: value.toString() })),
      shared.map((sharedHeaders, i) => ({
        key: `k${i}`,
        headers: { ce_id: `é${i}`, h_own: String(i), ...sharedHeaders },
        value: `v${i}`,
      })),
    );
    const tooMany = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`s_${i}`, '']));
    await assert.rejects(
      log.append('events', [record(0, 'x', { headers: { ce_id: '1' }, sharedHeaders: tooMany })]),
      (error) => hasCode(error, 'PULSE_LOG_RECORD_INVALID'),
    );
  });

  test('refuses a record beyond the limits and stores nothing of its call', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'before')]);
    const headers = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h_${i}`, '']));
    const bad = [
      record(3, 'partition'),
      record(-1, 'partition'),
      record(0, '', { value: Buffer.alloc(2 * 1_048_576 + 1) }),
      record(0, 'count', { headers }),
      record(0, 'size', { headers: { a: 'x'.repeat(70_000) } }),
      record(0, 'name', { headers: { 'Not-Allowed': 'x' } }),
    ];
    for (const one of bad) {
      await assert.rejects(log.append('events', [record(0, 'ok'), record(1, 'ok'), one]), (error) =>
        hasCode(error, 'PULSE_LOG_RECORD_INVALID'),
      );
    }
    assert.deepEqual(await log.append('events', [record(0, 'after'), record(1, 'first')]), [1, 0]);
    assert.deepEqual(texts(await log.read('events', 0, 0, plenty)), ['before', 'after']);
  });
}

function readTests(makeTarget: MakeTarget): void {
  test('tells earliest and end of every partition', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    const none = [0, 1, 2].map((partition) => ({ partition, earliest: 0, end: 0 }));
    assert.deepEqual(await log.bounds('events'), none);
    await log.append('events', [record(1, 'a'), record(1, 'b')]);
    assert.deepEqual(await log.bounds('events'), [none[0], { partition: 1, earliest: 0, end: 2 }, none[2]]);
  });

  test('reads from any offset, within the limits, and nothing at the end', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    for (let i = 0; i < 5; i++) {
      await log.append(
        'events',
        Array.from({ length: 10 }, (_, j) => record(0, `${i * 10 + j}`)),
      );
    }
    assert.deepEqual(texts(await log.read('events', 0, 17, { recordsMax: 3, bytesMax: 1e6 })), [
      '17',
      '18',
      '19',
    ]);
    const [first] = await log.read('events', 0, 49, plenty);
    assert.equal(first?.offset, 49);
    assert.deepEqual(await log.read('events', 0, 50, plenty), []);
    assert.equal((await log.read('events', 0, 3, { recordsMax: 10, bytesMax: 1 })).length, 1);
  });

  test('finds offsets by append time', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'a'), record(1, 'a')]);
    const afterFirst = await pass();
    await log.append('events', [record(0, 'b')]);
    const afterSecond = await pass();
    const at = async (timeMs: number): Promise<number[]> =>
      (await log.offsetsAt('events', timeMs)).map(({ offset }) => offset);
    assert.deepEqual(await at(0), [0, 0, 0]);
    assert.deepEqual(await at(afterFirst), [1, 1, 0]);
    assert.deepEqual(await at(afterSecond), [2, 1, 0]);
    const [stored] = await log.read('events', 0, 1, plenty);
    assert.ok(stored !== undefined && stored.appendTimeMs >= afterFirst && stored.appendTimeMs < afterSecond);
  });

  test('shows durable records to another reader of the same storage', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    const reader = await open();
    const consumer = await reader.consume({ group: 'follow', topics: ['events'], from: 'earliest' });
    for (let i = 0; i < 20; i++) {
      await log.append('events', [record(i % 3, `${i}`)]);
      assert.deepEqual(texts(await take(consumer, 1)), [`${i}`]);
    }
  });
}

function consumerTests(makeTarget: MakeTarget): void {
  test('hands out every record, in order per partition, over several topics', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.createTopic('other', { ...options, partitions: 1 });
    await log.append(
      'events',
      Array.from({ length: 100 }, (_, i) => record(i % 3, `${i}`)),
    );
    await log.append(
      'other',
      Array.from({ length: 10 }, (_, i) => record(0, `o${i}`)),
    );
    const consumer = await log.consume({ group: 'g', topics: ['events', 'other'], from: 'earliest' });
    const found = new Map<string, string[]>();
    for (let count = 0; count < 110; ) {
      const batches = await consumer.poll({ ...poll, recordsMax: 7 });
      assert.ok(recordsOf(batches).length <= 7);
      for (const { topic, partition, records, nextOffset } of batches) {
        assert.ok(records.length > 0);
        assert.equal(nextOffset, (records.at(-1)?.offset ?? 0) + 1);
        const key = `${topic}/${partition}`;
        found.set(key, [...(found.get(key) ?? []), ...texts(records)]);
        count += records.length;
      }
    }
    for (const p of [0, 1, 2]) {
      const expected = Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 3 === p);
      assert.deepEqual(found.get(`events/${p}`), expected.map(String));
    }
    assert.equal(found.get('other/0')?.length, 10);
  });

  test('starts a new group at the end when asked to', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'old')]);
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'end' });
    assert.deepEqual(await consumer.poll({ ...poll, waitMs: 0 }), []);
    await log.append('events', [record(0, 'new')]);
    assert.deepEqual(texts(await take(consumer, 1)), ['new']);
  });

  test('waits for the first record, no longer than told, and stops waiting when aborted', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    assert.deepEqual(await consumer.poll({ ...poll, waitMs: 20 }), []);
    const waiting = consumer.poll(poll);
    await log.append('events', [record(2, 'x')]);
    assert.deepEqual(texts(recordsOf(await waiting)), ['x']);
    const stop = new AbortController();
    const aborted = consumer.poll({ ...poll, waitMs: 60_000, signal: stop.signal });
    setTimeout(() => stop.abort(), 10);
    assert.deepEqual(await aborted, []);
  });

  test('hands out at least one record even when it is larger than bytesMax', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'x'.repeat(5_000)), record(0, 'y'.repeat(5_000))]);
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    assert.equal(recordsOf(await consumer.poll({ ...poll, bytesMax: 10 })).length, 1);
  });

  test('goes on where it was sent by seek, forwards and backwards', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append(
      'events',
      Array.from({ length: 10 }, (_, i) => record(0, `${i}`)),
    );
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    consumer.seek({ topic: 'events', partition: 0, offset: 8 });
    assert.deepEqual(texts(await take(consumer, 2)), ['8', '9']);
    consumer.seek({ topic: 'events', partition: 0, offset: 3 });
    assert.deepEqual(texts(await take(consumer, 7)), ['3', '4', '5', '6', '7', '8', '9']);
  });
}

function groupTests(makeTarget: MakeTarget): void {
  test('continues after the committed offset over a re-open, and hands uncommitted records out again', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    await log.append(
      'events',
      Array.from({ length: 6 }, (_, i) => record(0, `${i}`)),
    );
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    await take(consumer, 6);
    await consumer.commit([{ topic: 'events', partition: 0, offset: 4 }]);
    await log.close();
    const again = await open();
    const next = await again.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    assert.deepEqual(texts(await take(next, 2)), ['4', '5']);
  });

  test('keeps groups apart', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'a')]);
    for (const group of ['one', 'two']) {
      const consumer = await log.consume({ group, topics: ['events'], from: 'earliest' });
      assert.deepEqual(texts(await take(consumer, 1)), ['a']);
      await consumer.commit([{ topic: 'events', partition: 0, offset: 1 }]);
    }
  });

  test('shares the partitions among members, and gives them back when one leaves', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'a'), record(1, 'b'), record(2, 'c')]);
    const first = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    await take(first, 3);
    const second = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    // An engine may need a few polls to agree on the new assignment.
    const seen = new Set<string>();
    for (let i = 0; i < 20 && seen.size < 3; i++) {
      for (const one of recordsOf(await first.poll({ ...poll, waitMs: 50 }))) seen.add(one.value.toString());
      for (const one of recordsOf(await second.poll({ ...poll, waitMs: 50 }))) seen.add(one.value.toString());
    }
    assert.deepEqual([...seen].sort(), ['a', 'b', 'c']);
    const owned = [first, second].map((member) => member.assignment().partitions.map((p) => p.partition));
    assert.deepEqual(owned.flat().sort(), [0, 1, 2]);
    assert.ok(owned.every((partitions) => partitions.length > 0));
    const lostPartition = [0, 1, 2].find((p) => !owned[0]?.includes(p)) as number;
    const lost = [{ topic: 'events', partition: lostPartition, offset: 1 }];
    await assert.rejects(first.commit(lost), (error) => hasCode(error, 'PULSE_LOG_FENCED'));
    const { generation } = first.assignment();
    await second.close();
    for (let i = 0; i < 20 && first.assignment().partitions.length < 3; i++)
      await first.poll({ ...poll, waitMs: 50 });
    assert.equal(first.assignment().partitions.length, 3);
    assert.ok(first.assignment().generation > generation);
    await first.commit(lost);
  });

  test('fences the earlier consumer when another log takes the group over, where groups do not span processes', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    if (log.capabilities.groupsAcrossProcesses) return t.skip('this engine shares groups across processes');
    await log.append('events', [record(0, 'a'), record(0, 'b')]);
    const fenced = (error: unknown): boolean => hasCode(error, 'PULSE_LOG_FENCED');
    const first = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    await take(first, 2);
    await first.commit([{ topic: 'events', partition: 0, offset: 1 }]);
    const other = await open();
    const second = await other.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    await assert.rejects(first.commit([{ topic: 'events', partition: 0, offset: 2 }]), fenced);
    await assert.rejects(first.poll(poll), fenced);
    assert.deepEqual(texts(await take(second, 1)), ['b']);
    assert.equal((await other.lag('g', 'events'))[0]?.committed, 1);
  });

  test('tells how far a group is behind, in records and in time', async (t) => {
    const { log } = await useTopic(t, makeTarget);
    await log.append('events', [record(0, 'a'), record(0, 'b'), record(1, 'c')]);
    const before = await log.lag('g', 'events');
    assert.deepEqual(
      before.map((one) => [one.committed, one.end, one.lagRecords]),
      [
        [0, 2, 2],
        [0, 1, 1],
        [0, 0, 0],
      ],
    );
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    await take(consumer, 3);
    await pass();
    await consumer.commit([{ topic: 'events', partition: 0, offset: 1 }]);
    await consumer.commit([{ topic: 'events', partition: 1, offset: 1 }]);
    const after = await log.lag('g', 'events');
    assert.deepEqual(
      after.map((one) => one.lagRecords),
      [1, 0, 0],
    );
    assert.ok((after[0]?.lagMs ?? 0) >= 5);
    assert.equal(after[1]?.lagMs, 0);
  });
}

function closeTests(makeTarget: MakeTarget): void {
  test('finishes appends under way when it is closed, then refuses everything', async (t) => {
    const { log, open } = await useTopic(t, makeTarget);
    const consumer = await log.consume({ group: 'g', topics: ['events'], from: 'earliest' });
    const waiting = consumer.poll({ ...poll, waitMs: 60_000 }).catch((error: unknown) => error);
    await log.append('events', [record(1, 'first')]);
    const underWay = Array.from({ length: 50 }, (_, i) => log.append('events', [record(0, `${i}`)]));
    const closing = log.close();
    const closed = (error: unknown): boolean => hasCode(error, 'PULSE_LOG_CLOSED');
    await assert.rejects(log.append('events', [record(0, 'late')]), closed);
    await Promise.all([...underWay, closing, waiting]);
    await log.close();
    await consumer.close();
    await assert.rejects(log.bounds('events'), closed);
    assert.equal((await (await open()).bounds('events'))[0]?.end, 50);
  });
}
