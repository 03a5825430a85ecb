// Facts about process after crashes, outages and restores: whatever happens, valid holds each winner once, in order, with an
// unbroken chain, and the counts say exactly that.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { databaseError } from '../database/errors.ts';
import type { Database } from '../database/types.ts';
import type { Consumer, EventLog } from '../ports/event-log/event-log.ts';
import { logError } from '../ports/event-log/event-log.ts';
import { restartPoint } from './restart.ts';
import {
  asOwner,
  audit,
  countsOf,
  type Pipeline,
  readAll,
  testPipeline,
  until,
  untilDone,
} from './testing/pipeline.ts';
import { rawRecord } from './testing/records.ts';

function event(eventId: string): object {
  return { event_id: eventId, event_type: 'order.placed', data: {} };
}

/** Valid events, duplicates within and across partitions, and dead letters. */
async function sendMixture(pipeline: Pipeline, round: number): Promise<void> {
  for (const partition of [0, 1, 2]) {
    const values = Array.from({ length: 12 }, (_, i) => {
      if (i % 5 === 4) return '{broken';
      return event(i % 3 === 0 ? `shared-${round}-${i}` : `${partition}-${round}-${i % 7}`);
    });
    await pipeline.send(partition, ...values);
  }
}

const points = [
  'after the claim',
  'after the dead letters',
  'after the valid records',
  'before the commit',
] as const;
type Point = (typeof points)[number];

/** Log and database of a process that dies at a point: from then on nothing that it tries has any effect. */
class Mortal {
  isDead = false;
  readonly #pipeline: Pipeline;
  readonly #point: Point;
  #passesLeft: number;

  constructor(pipeline: Pipeline, point: Point, passesLeft: number) {
    this.#pipeline = pipeline;
    this.#point = point;
    this.#passesLeft = passesLeft;
  }

  #pass(point: Point): void {
    if (point === this.#point && this.#passesLeft-- <= 0) this.isDead = true;
    this.#live();
  }

  #live(): void {
    if (this.isDead) throw new Error('the process is dead');
  }

  get database(): Database {
    const { database } = this.#pipeline;
    return {
      withTenant: (tenantId, work) => database.withTenant(tenantId, work),
      withTenants: async (tenantIds, work) => {
        this.#live();
        const result = await database.withTenants(tenantIds, work);
        this.#pass('after the claim');
        return result;
      },
      query: (...args) => database.query(...args),
      close: () => Promise.resolve(),
    };
  }

  get log(): EventLog {
    const { log } = this.#pipeline;
    return withOverrides(log, {
      append: async (topic, records) => {
        this.#live();
        const offsets = await log.append(topic, records);
        this.#pass(topic === 'events.dlq' ? 'after the dead letters' : 'after the valid records');
        return offsets;
      },
      consume: async (options) => {
        const consumer = await log.consume(options);
        return withOverrides<Consumer>(consumer, {
          commit: async (offsets) => {
            this.#pass('before the commit');
            await consumer.commit(offsets);
          },
        });
      },
    });
  }
}

function withOverrides<Target extends object>(target: Target, overrides: Partial<Target>): Target {
  return new Proxy(target, {
    get: (_, name) => {
      const value: unknown = Reflect.get(name in overrides ? overrides : target, name);
      return typeof value === 'function' && !(name in overrides) ? value.bind(target) : value;
    },
  });
}

describe('a crash of process', () => {
  for (const point of points) {
    for (const passes of [0, 2]) {
      test(`${point}, at pass ${passes + 1}, loses and doubles nothing`, async (t) => {
        const pipeline = await testPipeline(t);
        await sendMixture(pipeline, 1);
        const mortal = new Mortal(pipeline, point, passes);
        const settings = { PULSE_PROCESS_BATCH_RECORDS: 9 };
        const doomed = await pipeline.start({ log: mortal.log, database: mortal.database, settings });
        await sendMixture(pipeline, 2);
        await until(
          () => mortal.isDead,
          () => doomed.status(),
        );
        await doomed.stop();
        await sendMixture(pipeline, 2);
        await untilDone(pipeline, await pipeline.start({ settings: { PULSE_PROCESS_BATCH_RECORDS: 11 } }));
        const { valid, deadLetters } = await audit(pipeline);
        assert.equal(deadLetters.size, 18);
        assert.equal(valid.flat().length, new Set(valid.flat()).size);
        assert.ok(valid.flat().length > 30);
      });
    }
  }
});

describe('an outage', () => {
  test('of Postgres is waited for and shown', async (t) => {
    const pipeline = await testPipeline(t);
    const stage = await pipeline.start();
    await pipeline.send(0, event('a'));
    await untilDone(pipeline, stage);
    const name = new URL(pipeline.ownerUrl).pathname.slice(1);
    const maintenance = pipeline.ownerUrl.replace(`/${name}`, '/postgres');
    await asOwner(maintenance, async (client) => {
      await client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
      await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
    });
    await pipeline.send(0, event('b'), event('a'));
    await until(
      () => stage.status().partitions.some((one) => one.condition === 'waiting'),
      () => stage.status(),
    );
    assert.match(stage.problem() as string, /events\.raw partition 0 is waiting/);
    await asOwner(maintenance, (client) => client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`));
    await untilDone(pipeline, stage);
    await until(() => stage.problem() === null);
    assert.deepEqual((await audit(pipeline)).valid[0], ['0:0', '0:1']);
  });

  test('of the valid topic after some records were stored repeats none of them', async (t) => {
    const pipeline = await testPipeline(t);
    let failures = 3;
    const log = withOverrides(pipeline.log, {
      append: async (topic, records) => {
        if (topic !== 'events.valid' || failures === 0) return await pipeline.log.append(topic, records);
        failures--;
        await pipeline.log.append(topic, records.slice(0, Math.ceil(records.length / 2)));
        throw logError('PULSE_LOG_FAILED', 'the disk is on fire');
      },
    });
    await sendMixture(pipeline, 1);
    await untilDone(pipeline, await pipeline.start({ log }));
    assert.equal(failures, 0);
    await audit(pipeline);
  });

  test('during COMMIT whose outcome is unknown is settled by asking again', async (t) => {
    const pipeline = await testPipeline(t);
    let failures = 2;
    const database: Database = withOverrides(pipeline.database, {
      withTenants: async (tenantIds, work) => {
        const result = await pipeline.database.withTenants(tenantIds, work);
        if (failures-- > 0) throw databaseError('PULSE_DATABASE_COMMIT_UNKNOWN', 'the line went dead');
        return result;
      },
    });
    await sendMixture(pipeline, 1);
    await untilDone(pipeline, await pipeline.start({ database }));
    await audit(pipeline);
  });
});

describe('a partition', () => {
  test('whose position another owner keeps moving stops with a named error, while the others go on', async (t) => {
    const pipeline = await testPipeline(t);
    const [shared] = pipeline.directory.topicSets();
    const stage = await pipeline.start({ settings: { PULSE_PROCESS_LANES: 1 } });
    await pipeline.send(1, event('a'));
    await untilDone(pipeline, stage);
    // A slow claim, so that the rival always comes first.
    await asOwner(pipeline.ownerUrl, (client) =>
      client.query(
        `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END';
         CREATE TRIGGER slow AFTER INSERT ON stage_counts FOR EACH STATEMENT EXECUTE FUNCTION slow();`,
      ),
    );
    await pipeline.send(1, ...Array.from({ length: 1000 }, (_, i) => event(`b${i}`)));
    const rival = `UPDATE stage_positions SET source_offset = source_offset + 1, log_offset = log_offset + 1
                   WHERE stage = 'process' AND partition = 1 AND source_offset < 900`;
    await asOwner(pipeline.ownerUrl, async (client) => {
      const hasStopped = async (): Promise<boolean> => {
        await client.query(rival);
        return stage.status().partitions.some((one) => one.condition === 'stopped');
      };
      await until(hasStopped, () => stage.status());
    });
    await pipeline.send(0, event('c'));
    await until(() => stage.status().partitions[0]?.doneOffset === 0);
    const stopped = stage.status().partitions.find((one) => one.condition === 'stopped');
    assert.equal(stopped?.partition, 1);
    assert.equal(stopped?.problem?.code, 'PULSE_DATABASE_POSITION_FENCED');
    assert.equal((await readAll(pipeline.log, shared?.names.valid as string, 1)).length, 1);
    const shown = await pipeline.database.query('SELECT topic, partition, code FROM stage_errors');
    assert.deepEqual(shown.rows, [
      { topic: 'events.raw', partition: 1, code: 'PULSE_DATABASE_POSITION_FENCED' },
    ]);
  });

  test('whose log is damaged stops with a named error, while the others go on, and resumes once it is mended', async (t) => {
    const pipeline = await testPipeline(t);
    let isDamaged = true;
    const damage = logError('PULSE_LOG_CORRUPT', 'a segment is damaged', {
      details: { topic: 'events.raw', partition: 1 },
    });
    const log = withOverrides(pipeline.log, {
      consume: async (options) => {
        const consumer = await pipeline.log.consume(options);
        let turn = 0;
        return withOverrides<Consumer>(consumer, {
          poll: async (options) => {
            if (isDamaged && turn++ % 2 === 0) throw damage;
            const batches = await consumer.poll({ ...options, waitMs: 10 });
            if (!isDamaged) return batches;
            for (const { topic, partition } of batches) {
              if (partition === 1) consumer.seek({ topic, partition, offset: 0 });
            }
            return batches.filter(({ partition }) => partition !== 1);
          },
        });
      },
    });
    await pipeline.send(0, event('a'));
    await pipeline.send(1, event('b'));
    const stage = await pipeline.start({ log, settings: { PULSE_PROCESS_LANES: 1 } });
    const conditionOf = (partition: number): string | undefined =>
      stage.status().partitions.find((one) => one.partition === partition)?.condition;
    await until(() => conditionOf(1) === 'stopped' && stage.status().partitions[0]?.doneOffset === 0);
    assert.match(stage.problem() as string, /events\.raw partition 1 is stopped: PULSE_LOG_CORRUPT/);
    isDamaged = false;
    await untilDone(pipeline, stage);
    assert.equal(conditionOf(1), 'running');
    await audit(pipeline);
  });

  test('of a topic whose valid topic has other partitions is refused by name', async (t) => {
    const pipeline = await testPipeline(t);
    const { directory, log } = pipeline;
    const describeTopic: EventLog['describeTopic'] = async (topic) => {
      const info = await log.describeTopic(topic);
      return info === null || topic !== 'events.valid' ? info : { ...info, partitions: 4 };
    };
    const stage = await pipeline.start({ log: withOverrides(log, { describeTopic }) });
    await until(() => stage.problem() !== null);
    assert.match(stage.problem() as string, /PULSE_PROCESS_TOPICS_MISMATCHED/);
    assert.ok(directory.topicSets().length === 1);
  });
});

describe('the restart rule', () => {
  const at = (offset: number) => ({ epoch: 1, partition: 0, offset });
  const known = { topic: 'events.raw', epoch: 1, end: 200 };

  test('starts behind what is both claimed and routed', () => {
    const start = (claimedThrough: number, hint: number, emitted: number): number =>
      restartPoint({ ...known, claimedThrough, hint, emitted: emitted < 0 ? null : at(emitted) }).startOffset;
    assert.equal(start(-1, 0, -1), 0, 'a first start');
    assert.equal(start(99, 100, 97), 100, 'nothing open');
    assert.equal(start(99, 60, 97), 98, 'a lost hint');
    assert.equal(start(99, 90, 80), 90, 'claimed, not routed');
    assert.equal(start(40, 100, 97), 41, 'a database older than the log');
    assert.equal(start(99, 100, -1), 100, 'a valid partition emptied by retention');
  });

  test('takes a record of an earlier epoch as nothing emitted', () => {
    const point = restartPoint({ ...known, epoch: 2, claimedThrough: -1, hint: 0, emitted: at(500) });
    assert.deepEqual(point, { startOffset: 0, state: { routedThrough: -1, previous: at(500) } });
  });

  test('refuses a raw partition that ends before what was done', () => {
    const replaced = { code: 'PULSE_PROCESS_LOG_REPLACED' };
    assert.throws(() => restartPoint({ ...known, claimedThrough: 200, hint: 0, emitted: null }), replaced);
    assert.throws(() => restartPoint({ ...known, claimedThrough: -1, hint: 0, emitted: at(300) }), replaced);
  });
});

test('a database that is older than the log gets its ledger and counts back', async (t) => {
  const pipeline = await testPipeline(t);
  // Partition 1 wins the id x; after the restore partition 0 must not win it again.
  await pipeline.send(1, event('x'), event('y'));
  const first = await pipeline.start();
  await untilDone(pipeline, first);
  await pipeline.send(0, event('x'), event('z'), '{broken');
  await untilDone(pipeline, first);
  await first.stop();
  const before = await countsOf(pipeline.ownerUrl);
  await asOwner(pipeline.ownerUrl, (client) =>
    client.query(
      "TRUNCATE processed_event_ids, stage_counts; DELETE FROM stage_positions WHERE stage = 'process'",
    ),
  );
  await pipeline.send(2, event('y'), event('w'));
  // Partition 0 is read first, and its x comes before that of partition 1.
  const second = await pipeline.start({
    settings: { PULSE_PROCESS_LANES: 1, PULSE_PROCESS_BATCH_RECORDS: 2 },
  });
  await untilDone(pipeline, second);
  await pipeline.log.append('events.raw', [rawRecord(event('x'))]);
  await untilDone(pipeline, second);
  const { valid } = await audit(pipeline);
  assert.deepEqual(valid, [['0:1'], ['1:0', '1:1'], ['2:1']]);
  const after = await countsOf(pipeline.ownerUrl);
  assert.equal(after['valid'], (before['valid'] ?? 0) + 1);
});

test('a lost commit hint repeats work without effect', async (t) => {
  const pipeline = await testPipeline(t);
  const withoutHints = withOverrides(pipeline.log, {
    consume: async (options) =>
      withOverrides<Consumer>(await pipeline.log.consume(options), { commit: () => Promise.resolve() }),
  });
  for (let round = 0; round < 3; round++) {
    await sendMixture(pipeline, round);
    const stage = await pipeline.start({ log: withoutHints });
    await untilDone(pipeline, stage);
    await stage.stop();
  }
  const { deadLetters } = await audit(pipeline);
  assert.equal(deadLetters.size, 18);
});
