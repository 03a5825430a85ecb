// Facts about repair jobs on the real log and a real database: what becomes of dead letters, counts and attempts, whatever happens
// between the steps of a run.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EventLog } from '../../ports/event-log/event-log.ts';
import { broken, everything, mend, repairWorld, type World } from './testing/world.ts';

/** The state after three dead letters were repaired once each. */
async function assertRepairedOnce(world: World, ids: readonly string[]): Promise<void> {
  await world.judged();
  assert.deepEqual(
    await world.valid(),
    ids.map((id) => `${id} 2`),
  );
  assert.deepEqual(
    (await world.letters()).map(({ state, attempts }) => `${state} ${attempts}`),
    ids.map(() => 'repaired 2'),
  );
  assert.deepEqual(await world.counts(), { accepted: ids.length, valid: ids.length });
}

describe('a repair job', { concurrency: 2 }, () => {
  test('repairs dead letters as further attempts that keep event id, receive time and the bytes beside the patch', async (t) => {
    const world = await repairWorld(t);
    await world.bury(
      '{"event_id":"a","event_type":7,"data":{"big":9007199254740993,"price":1.10}}'.replace(
        '"a"',
        '"sent-0"',
      ),
    );
    const jobId = await world.makeJob(everything, { patch: mend });
    const job = await world.run(jobId);
    assert.equal(job.state, 'succeeded');
    assert.deepEqual(await world.results(jobId), ['reprocessed']);
    await assertRepairedOnce(world, ['sent-0']);
    const [record] = await world.log.read('events.valid', 0, 0, { recordsMax: 1, bytesMax: 1 });
    assert.match(
      String(record?.value),
      /"received_at":"2026-03-01T10:00:00.000Z".*"data":\{"big":9007199254740993,"price":1.10\}/,
    );
  });

  test('leaves a dead letter open with what was found now when it is still invalid, up to the cap of attempts', async (t) => {
    const world = await repairWorld(t, { PULSE_PROCESS_REPAIR_ATTEMPTS: 3 });
    await world.bury(broken('a'));
    const patch = '[{"op":"replace","path":"/data","value":5},{"op":"add","path":"/event_type","value":"x"}]';
    for (const expected of ['still_invalid', 'still_invalid', 'attempts_exhausted']) {
      const jobId = await world.makeJob(everything, { patch });
      await world.run(jobId);
      assert.deepEqual(await world.results(jobId), [expected]);
    }
    const [letter] = await world.sql<{ state: string; attempts: number; failures: { pointer: string }[] }>(
      'SELECT state, attempts, failures FROM dead_letters',
    );
    assert.equal(letter?.state, 'open');
    assert.equal(letter?.attempts, 3);
    assert.deepEqual(
      letter?.failures.map((failure) => failure.pointer),
      ['/data'],
    );
    assert.deepEqual(await world.counts(), { accepted: 1, dead_letter: 1 });
    assert.equal((await world.attempts()).length, 2);
  });

  test('is a duplicate when the id was claimed meanwhile, and stays one', async (t) => {
    const world = await repairWorld(t);
    const [letter] = await world.bury(broken('a'));
    await world.send(1, { event_id: 'a', event_type: 'resent', data: {} });
    await world.judged();
    const jobId = await world.makeJob({ ids: [letter?.id ?? ''] }, { patch: mend });
    await world.run(jobId);
    assert.deepEqual(await world.results(jobId), ['duplicate']);
    const again = await world.makeJob({ ids: [letter?.id ?? ''] }, { patch: mend });
    await world.run(again);
    assert.deepEqual(await world.results(again), ['already_duplicate']);
    assert.deepEqual(await world.counts(), { accepted: 2, valid: 1, duplicate: 1 });
  });

  test('refuses items one by one: a patch that does not fit, another event id, an unknown id', async (t) => {
    const world = await repairWorld(t);
    const letters = await world.bury(
      broken('a', { extra: 1 }),
      broken('bb'),
      '{"event_id":"sent-2","event_type":3,"extra":2,"data":{}}',
    );
    const nobody = '00000000-0000-5000-8000-000000000000';
    const patch = `[{"op":"remove","path":"/extra"},${mend.slice(1)}`;
    const jobId = await world.makeJob({ ids: [...letters.map((one) => one.id), nobody] }, { patch });
    const job = await world.run(jobId);
    assert.equal(job.state, 'succeeded');
    assert.deepEqual(await world.results(jobId), ['reprocessed', 'patch_failed', 'reprocessed', 'unknown']);
    const renamed = await world.makeJob(everything, {
      patch: `[{"op":"add","path":"/event_id","value":"other"},${mend.slice(1)}`,
    });
    await world.run(renamed);
    assert.deepEqual(await world.results(renamed), ['event_id_changed']);
    const same = await world.makeJob(everything, {
      patch: `[{"op":"remove","path":"/event_id"},${mend.slice(1)}`,
    });
    await world.run(same);
    assert.deepEqual(await world.results(same), ['reprocessed']);
    assert.deepEqual(await world.valid(), ['a 2', 'bb 2', 'sent-2 2']);
  });

  test('as a dry run says what would happen and changes nothing', async (t) => {
    const world = await repairWorld(t);
    await world.bury(broken('a'), broken('bb'), broken('ccc', { data: 5 }), broken('dddd', { extra: 1 }));
    await world.send(2, { event_id: 'bb', event_type: 'resent', data: {} });
    await world.judged();
    const before = [await world.letters(), await world.counts(), await world.log.bounds('events.raw')];
    const jobId = await world.makeJob(everything, {
      patch: `[{"op":"test","path":"/extra","value":1},${mend.slice(1)}`,
      dryRun: true,
    });
    assert.equal((await world.run(jobId)).state, 'succeeded');
    assert.deepEqual((await world.results(jobId)).toSorted(), [
      'patch_failed',
      'patch_failed',
      'patch_failed',
      'reprocessed',
    ]);
    const second = await world.makeJob(everything, { patch: mend, dryRun: true });
    await world.run(second);
    assert.deepEqual((await world.results(second)).toSorted(), [
      'duplicate',
      'reprocessed',
      'reprocessed',
      'still_invalid',
    ]);
    assert.deepEqual(
      [await world.letters(), await world.counts(), await world.log.bounds('events.raw')],
      before,
    );
  });

  test('pressed twice at once and again later doubles nothing, also after the horizon of the ledger', async (t) => {
    const world = await repairWorld(t);
    const ids = ['a', 'bb', 'ccc'];
    const letters = await world.bury(...ids.map((id) => broken(id)));
    const selection = { ids: letters.map((letter) => letter.id) };
    const jobs = await Promise.all([1, 2, 3].map(() => world.makeJob(selection, { patch: mend })));
    await Promise.all(jobs.map((jobId) => world.run(jobId)));
    await assertRepairedOnce(world, ids);
    const results = (await Promise.all(jobs.map((jobId) => world.results(jobId)))).flat();
    assert.equal(results.filter((result) => result === 'reprocessed').length, 3, results.join());
    await world.sql('DELETE FROM processed_event_ids');
    const late = await world.makeJob(selection, { patch: mend });
    await world.run(late);
    assert.deepEqual(await world.results(late), ['already_repaired', 'already_repaired', 'already_repaired']);
    await assertRepairedOnce(world, ids);
  });

  test('has one effect of an attempt that is in the log twice, also after the horizon of the ledger', async (t) => {
    const world = await repairWorld(t);
    await world.bury(broken('a'), broken('bb'));
    await world.run(await world.makeJob(everything, { patch: mend }));
    await world.judged();
    await world.sql('DELETE FROM processed_event_ids');
    for (const { partition } of await world.log.bounds('events.raw')) {
      const all = await world.log.read('events.raw', partition, 0, { recordsMax: 100, bytesMax: 1_000_000 });
      const twins = all.filter(({ headers }) => headers['pulse_origin'] !== undefined);
      if (twins.length > 0) await world.log.append('events.raw', [...twins, ...twins]);
    }
    assert.equal((await world.attempts()).length, 6);
    await assertRepairedOnce(world, ['a', 'bb']);
    assert.deepEqual(await world.sql('SELECT * FROM processed_event_ids'), []);
  });

  test('goes on after a cancel where it stopped', async (t) => {
    const world = await repairWorld(t);
    const ids = ['a', 'bb', 'ccc'];
    await world.bury(...ids.map((id) => broken(id)));
    const jobId = await world.makeJob(everything, { patch: mend });
    await world.sql("UPDATE repair_jobs SET state = 'cancelling'");
    assert.equal((await world.run(jobId)).state, 'cancelled');
    assert.deepEqual(await world.attempts(), []);
    assert.deepEqual(await world.results(jobId), [null, null, null]);
    await world.sql("UPDATE repair_jobs SET state = 'queued', finished_at = NULL");
    assert.equal((await world.run(jobId)).state, 'succeeded');
    await assertRepairedOnce(world, ids);
  });

  test('stops a run as soon as a newer one has begun', async (t) => {
    const world = await repairWorld(t);
    await world.bury(broken('a'));
    const jobId = await world.makeJob(everything, { patch: mend });
    const log: World['dependencies']['log'] = {
      ...bound(world.log),
      bounds: async (topic) => {
        await world.sql('UPDATE repair_jobs SET run = run + 1');
        return await world.log.bounds(topic);
      },
    };
    assert.equal((await world.run(jobId, { log })).state, 'running');
    assert.deepEqual(await world.attempts(), []);
    assert.equal((await world.run(jobId)).state, 'succeeded');
    await assertRepairedOnce(world, ['a']);
  });

  test('takes the oldest and says so when more match than a job may hold', async (t) => {
    const world = await repairWorld(t, { PULSE_PROCESS_REPAIR_ITEMS: 2 });
    await world.bury(broken('a'), broken('bb'), broken('ccc'));
    const job = await world.run(await world.makeJob(everything, { patch: mend }));
    assert.equal(job.total, 2);
    assert.equal(job.truncated, true);
    assert.equal((await world.letters()).filter((letter) => letter.state === 'open').length, 1);
  });
});

function bound(log: EventLog): World['dependencies']['log'] {
  return {
    append: (topic, records) => log.append(topic, records),
    bounds: (topic) => log.bounds(topic),
    read: (topic, partition, offset, options) => log.read(topic, partition, offset, options),
  };
}

/** Where a run may be interrupted, and the parts that interrupt it there. */
const interruptions: Readonly<Record<string, (world: World) => Partial<World['dependencies']>>> = {
  'before the states change': (world) => ({
    log: { ...bound(world.log), bounds: () => Promise.reject(new Error('crash')) },
  }),
  'after the states changed, before the append': (world) => ({
    log: { ...bound(world.log), append: () => Promise.reject(new Error('crash')) },
  }),
  'in the middle of the append': (world) => ({
    log: {
      ...bound(world.log),
      append: async (topic, records) => {
        await world.log.append(topic, records.slice(0, 2));
        throw new Error('crash');
      },
    },
  }),
  'after the append': (world) => ({
    log: {
      ...bound(world.log),
      append: async (topic, records) => {
        await world.log.append(topic, records);
        throw new Error('crash');
      },
    },
  }),
  'after the append and its verdicts': (world) => ({
    log: {
      ...bound(world.log),
      append: async (topic, records) => {
        await world.log.append(topic, records);
        await world.judged();
        throw new Error('crash');
      },
    },
  }),
};

describe('a repair job that is interrupted', { concurrency: 2 }, () => {
  for (const [where, parts] of Object.entries(interruptions)) {
    test(`${where} goes on, and each attempt is in the log once`, async (t) => {
      const world = await repairWorld(t);
      const ids = ['a', 'bb', 'ccc'];
      await world.bury(...ids.map((id) => broken(id)));
      const jobId = await world.makeJob(everything, { patch: mend });
      await assert.rejects(world.run(jobId, parts(world)), /crash/);
      // Interrupted again at the same place of the second run: it must not matter how often.
      await world.run(jobId, parts(world)).catch(() => {});
      assert.equal((await world.run(jobId)).state, 'succeeded');
      assert.deepEqual(await world.results(jobId), ['reprocessed', 'reprocessed', 'reprocessed']);
      assert.equal(new Set(await world.attempts()).size, 3);
      assert.equal((await world.attempts()).length, 3);
      await assertRepairedOnce(world, ids);
    });
  }
});
