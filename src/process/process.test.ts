// Facts about the loop from raw to valid and dead letters, on the real log and a real database.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addTenant } from '../../tests/support/tenancy.ts';
import { asOwner, audit, countsOf, readAll, testPipeline, until, untilDone } from './testing/pipeline.ts';
import { rawRecord } from './testing/records.ts';

function event(eventId: string, facts: object = {}): object {
  return { event_id: eventId, event_type: 'order.placed', data: { n: 1 }, ...facts };
}

describe('process', () => {
  test('routes valid events in order and keeps their bytes', async (t) => {
    const pipeline = await testPipeline(t);
    await pipeline.send(
      0,
      '{"event_id":"a","event_type":"t","data":{"big": 9007199254740993, "dup":1,"dup":2}}',
      event('b'),
    );
    await pipeline.send(2, event('c'));
    const stage = await pipeline.start();
    await untilDone(pipeline, stage);
    const { valid } = await audit(pipeline);
    assert.deepEqual(valid, [['0:0', '0:1'], [], ['2:0']]);
    const [first] = await readAll(pipeline.log, 'events.valid', 0);
    assert.match(
      first?.value.toString() as string,
      /,"data":\{"big": 9007199254740993, "dup":1,"dup":2\}\}$/,
    );
    assert.equal(stage.problem(), null);
  });

  test('lets one of equal ids win: in a batch, in later batches, in other partitions, after a restart', async (t) => {
    const pipeline = await testPipeline(t);
    await pipeline.send(0, event('a'), event('a'), event('b'), event('a'));
    await pipeline.send(1, event('a'), event('c'));
    const first = await pipeline.start();
    await untilDone(pipeline, first);
    await pipeline.send(0, event('b'), event('d'));
    await untilDone(pipeline, first);
    await first.stop();
    await pipeline.send(2, event('a'), event('d'), event('e'));
    await untilDone(pipeline, await pipeline.start());
    const { eventIds } = await audit(pipeline);
    assert.deepEqual([...eventIds].sort(), ['acme a', 'acme b', 'acme c', 'acme d', 'acme e']);
  });

  test('keeps tenants and CloudEvents sources with the same id apart', async (t) => {
    const pipeline = await testPipeline(t);
    const cloudEvent = (source: string): object => ({
      specversion: '1.0',
      id: 'a',
      type: 't',
      source,
      data: {},
    });
    const headers = { pulse_protocol: 'cloudevents-structured' };
    const records = [
      rawRecord(event('a')),
      rawRecord(event('a'), { headers: { pulse_tenant: 'globex' } }),
      rawRecord(cloudEvent('/one'), { headers }),
      rawRecord(cloudEvent('/two'), { headers }),
      rawRecord(cloudEvent('/two'), { headers }),
      rawRecord(cloudEvent(`/${'x'.repeat(500)}`), { headers }),
    ];
    await pipeline.log.append('events.raw', records);
    await untilDone(pipeline, await pipeline.start());
    assert.deepEqual(await countsOf(pipeline.ownerUrl), { accepted: 6, valid: 5, duplicate: 1 });
  });

  test('lets a corrected resend win over a dead letter with the same id', async (t) => {
    const pipeline = await testPipeline(t);
    await pipeline.send(0, event('a', { event_type: '' }), event('a'));
    await untilDone(pipeline, await pipeline.start());
    const { valid, deadLetters } = await audit(pipeline);
    assert.deepEqual(valid[0], ['0:1']);
    assert.deepEqual([...deadLetters], ['0:0']);
  });

  test('is not stopped by poison and gives unsigned records to nobody', async (t) => {
    const pipeline = await testPipeline(t);
    const poison = [
      '{',
      '',
      `{"event_type":"t","data":${'['.repeat(5000)}`,
      '"x"',
      '{"event_type":"t","data":{"n":1e400}}',
    ];
    await pipeline.send(0, event('a'), ...poison, '{"event_type":"t","data":{"s":"\\u0000"}}', event('b'));
    await pipeline.log.append('events.raw', [
      rawRecord(event('c'), { headers: { pulse_tenant: undefined } }),
    ]);
    await untilDone(pipeline, await pipeline.start());
    const { valid, deadLetters } = await audit(pipeline);
    assert.deepEqual(valid[0], ['0:0', '0:7']);
    assert.equal(deadLetters.size, 7);
    const tenants = await asOwner(pipeline.ownerUrl, (client) =>
      client.query("SELECT tenant_id FROM stage_counts WHERE outcome = 'dead_letter' ORDER BY 1"),
    );
    assert.deepEqual(tenants.rows, [{ tenant_id: '_platform' }, { tenant_id: 'acme' }]);
  });

  test('keeps the order of a partition over many small batches', async (t) => {
    const pipeline = await testPipeline(t);
    const stage = await pipeline.start({ settings: { PULSE_PROCESS_BATCH_RECORDS: 7 } });
    for (let round = 0; round < 5; round++) {
      const sends = [0, 1, 2].map((partition) =>
        pipeline.send(
          partition,
          ...Array.from({ length: 40 }, (_, i) => event(`${partition}-${round}-${i % 37}`)),
        ),
      );
      await Promise.all(sends);
    }
    await untilDone(pipeline, stage);
    const { valid } = await audit(pipeline);
    assert.equal(valid.flat().length, 3 * 5 * 37);
  });

  test('meets tenants that are younger than its directory', async (t) => {
    const pipeline = await testPipeline(t);
    const stage = await pipeline.start();
    await addTenant(pipeline.database, 'newcomer', { name: 'New' });
    await pipeline.log.append('events.raw', [
      rawRecord(event('a'), { headers: { pulse_tenant: 'newcomer' } }),
    ]);
    await untilDone(pipeline, stage);
    assert.deepEqual((await audit(pipeline)).eventIds, ['newcomer a']);
  });

  test('picks up the topics of a dedicated tenant while it runs', async (t) => {
    const pipeline = await testPipeline(t);
    const stage = await pipeline.start();
    await pipeline.send(0, event('a'));
    await addTenant(pipeline.database, 'big', { name: 'Big', topics: 'dedicated' });
    for (const kind of ['raw', 'valid', 'dlq']) {
      await pipeline.log.createTopic(`big.events.${kind}`, {
        partitions: 1,
        retentionMs: 0,
        retentionBytes: 0,
      });
    }
    const outside = { pulse_tenant: undefined, pulse_protocol: undefined, pulse_received_at: undefined };
    const foreign = rawRecord(event('c'), { headers: { pulse_tenant: 'acme' } });
    await pipeline.log.append('big.events.raw', [
      rawRecord({ event_type: 't', data: {} }, { headers: outside }),
      foreign,
    ]);
    await until(
      async () => (await pipeline.log.bounds('big.events.dlq'))[0]?.end === 1,
      () => stage.status(),
    );
    await untilDone(pipeline, stage);
    const [record] = await readAll(pipeline.log, 'big.events.valid', 0);
    assert.equal(record?.headers['pulse_tenant'], 'big');
    assert.match(record?.headers['ce_id'] as string, /^[0-9a-f-]{36}$/);
    assert.deepEqual(await countsOf(pipeline.ownerUrl), { accepted: 3, valid: 2, dead_letter: 1 });
  });
});
