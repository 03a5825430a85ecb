// Facts about the ledger transaction, on a real database.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TestScope, testDatabase } from '../../../tests/support/database.ts';
import { epochOf } from '../../database/epochs.ts';
import { readPositions } from '../../database/positions.ts';
import type { Database } from '../../database/types.ts';
import { asOwner } from '../testing/pipeline.ts';
import { rawRecord, sharedTopic } from '../testing/records.ts';
import { type Claimed, type ClaimPart, claim } from './claim.ts';
import { type JudgedEvent, judge } from './judge.ts';

interface Fixture {
  readonly database: Database;
  readonly ownerUrl: string;
  part(partition: number, firstOffset: number, ids: readonly string[]): ClaimPart;
}

async function fixture(t: TestScope): Promise<Fixture> {
  const { database, ownerUrl } = await testDatabase(t);
  const epoch = await epochOf(database, { topic: 'events.raw', incarnation: 'one' });
  const topic = { ...sharedTopic(), epoch };
  return {
    database,
    ownerUrl,
    part: (partition, firstOffset, ids) => ({
      topic: 'events.raw',
      epoch,
      partition,
      judged: ids.map((id, i) =>
        judge(
          rawRecord({ event_id: id, event_type: 't', data: {} }, { partition, offset: firstOffset + i }),
          topic,
        ),
      ),
      expected:
        firstOffset === 0
          ? { sourceOffset: -1, logOffset: 0 }
          : { sourceOffset: firstOffset - 1, logOffset: firstOffset },
      lastOffset: firstOffset + ids.length - 1,
    }),
  };
}

function winnersOf(claimed: Claimed): string[] {
  return [...claimed.winners].map(
    (event: JudgedEvent) => `${event.eventId}@${event.subject.position.offset}`,
  );
}

test('the first of equal ids in a batch wins, and asking again gives the same answer without counting again', async (t) => {
  const { database, ownerUrl, part } = await fixture(t);
  const first = part(0, 0, ['a', '{"q\\,', 'a']);
  const claimed = await claim(database, [first]);
  assert.deepEqual(winnersOf(claimed), ['a@0', '{"q\\,@1']);
  const again = { ...first, expected: claimed.positions[0] as ClaimPart['expected'] };
  assert.deepEqual(winnersOf(await claim(database, [again])), winnersOf(claimed));
  const { rows } = await asOwner(ownerUrl, (client) =>
    client.query('SELECT outcome, events FROM stage_counts ORDER BY outcome'),
  );
  assert.deepEqual(rows, [
    { outcome: 'accepted', events: '3' },
    { outcome: 'duplicate', events: '1' },
    { outcome: 'valid', events: '2' },
  ]);
});

test('concurrent batches with the same ids in any order agree on one winner for each and never deadlock', async (t) => {
  const { database, part } = await fixture(t);
  const ids = Array.from({ length: 200 }, (_, i) => `id-${i}`);
  const parts = [
    part(0, 0, ids),
    part(1, 0, ids.toReversed()),
    part(2, 0, [...ids.slice(100), ...ids.slice(0, 100)]),
  ];
  const results = await Promise.all(parts.map((one) => claim(database, [one])));
  const owners = results.flatMap((claimed) => [...claimed.winners].map((event) => event.eventId));
  assert.equal(owners.length, 200);
  assert.equal(new Set(owners).size, 200);
});

test('a fenced position rolls everything back', async (t) => {
  const { database, ownerUrl, part } = await fixture(t);
  await claim(database, [part(0, 0, ['a'])]);
  const stale = { ...part(0, 0, ['b']), lastOffset: 5 };
  await assert.rejects(claim(database, [part(1, 0, ['c']), stale]), {
    code: 'PULSE_DATABASE_POSITION_FENCED',
  });
  const { rows } = await asOwner(ownerUrl, (client) =>
    client.query('SELECT event_id FROM processed_event_ids'),
  );
  assert.deepEqual(rows, [{ event_id: 'a' }]);
  const positions = await readPositions(database, 'process');
  assert.deepEqual(
    positions.map(({ partition, sourceOffset }) => [partition, sourceOffset]),
    [[0, 0]],
  );
});

test('the longest ids and sources fit into the ledger', async (t) => {
  const { database } = await fixture(t);
  const epoch = await epochOf(database, { topic: 'events.raw', incarnation: 'one' });
  const value = { specversion: '1.0', id: '😀'.repeat(256), source: '漢'.repeat(512), type: 't' };
  const headers = { pulse_protocol: 'cloudevents-structured' };
  const judged = [judge(rawRecord(value, { headers }), { ...sharedTopic(), epoch })];
  const expected = { sourceOffset: -1, logOffset: 0 };
  const claimed = await claim(database, [
    { topic: 'events.raw', epoch, partition: 0, judged, expected, lastOffset: 0 },
  ]);
  assert.equal(claimed.winners.size, 1);
});
