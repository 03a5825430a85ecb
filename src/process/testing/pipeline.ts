// A raw-to-valid pipeline on the real embedded log and a real database, for tests of the loop; and an audit of what came out
// that shares no code with it.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { silentLogger, type TestScope, testDatabase } from '../../../tests/support/database.ts';
import { addTenant, testDirectory } from '../../../tests/support/tenancy.ts';
import { systemClock } from '../../core/clock.ts';
import { readSettings } from '../../core/settings.ts';
import type { Database } from '../../database/types.ts';
import { createEmbeddedEventLog } from '../../ports/event-log/embedded/index.ts';
import type { EventLog, LogRecord, StoredRecord } from '../../ports/event-log/event-log.ts';
import type { Directory } from '../../tenancy/types.ts';
import { type ProcessSettings, processSettings } from '../config.ts';
import { createProcess, type ProcessStage } from '../process.ts';
import { rawRecord } from './records.ts';

const partitions = 3;
const retention = { retentionMs: 0, retentionBytes: 0 };

/** What a test holds of the pipeline. */
export interface Pipeline {
  readonly log: EventLog;
  readonly database: Database;
  readonly directory: Directory;
  readonly ownerUrl: string;
  /** Appends raw records of one partition as collect would. */
  send(partition: number, ...values: readonly (object | string)[]): Promise<void>;
  /** Starts a process over the pipeline, or over parts put in its place; stopped when the test ends. */
  start(parts?: {
    log?: EventLog;
    database?: Database;
    settings?: Partial<ProcessSettings>;
  }): Promise<ProcessStage>;
}

/** Tenants `acme` and `globex` on shared topics. */
export async function testPipeline(t: TestScope): Promise<Pipeline> {
  const { database, ownerUrl } = await testDatabase(t);
  for (const tenantId of ['acme', 'globex']) await addTenant(database, tenantId, { name: tenantId });
  const directory = await testDirectory(t, { database, refreshMs: 100 });
  const root = await mkdtemp(join(tmpdir(), 'pulse-process-'));
  const log = await createEmbeddedEventLog({ directory: join(root, 'log'), logger: silentLogger });
  const stages: ProcessStage[] = [];
  t.after(async () => {
    for (const stage of stages) await stage.stop();
    await log.close();
    await rm(root, { recursive: true, force: true });
  });
  const [shared] = directory.topicSets();
  assert.ok(shared);
  await log.createTopic(shared.names.raw, { ...retention, partitions });
  await log.createTopic(shared.names.valid, { ...retention, partitions });
  await log.createTopic(shared.names.dlq, { ...retention, partitions: 2 });
  return {
    log,
    database,
    directory,
    ownerUrl,
    send: async (partition, ...values) => {
      await log.append(
        shared.names.raw,
        values.map((value) => rawOf(partition, value)),
      );
    },
    start: async (parts = {}) => {
      const stage = createProcess({
        log: parts.log ?? log,
        database: parts.database ?? database,
        directory,
        clock: systemClock,
        logger: silentLogger,
        settings: { ...readSettings(processSettings, {}), ...parts.settings },
      });
      stages.push(stage);
      await stage.start();
      return stage;
    },
  };
}

function rawOf(partition: number, value: object | string): LogRecord {
  const { key, headers, value: bytes } = rawRecord(value, { partition });
  return { partition, key, headers, value: bytes };
}

/** Waits until something holds; fails after 15 seconds with what `describe` says. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  describe: () => unknown = () => '',
): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await holds())) {
    if (Date.now() > deadline) assert.fail(`did not happen in 15 s: ${JSON.stringify(describe())}`);
    await sleep(10);
  }
}

/** Waits until a process has done every raw record. */
export async function untilDone(pipeline: Pipeline, stage: ProcessStage): Promise<void> {
  await until(
    async () => {
      const done = new Map(
        stage.status().partitions.map((one) => [`${one.topic}/${one.partition}`, one.doneOffset]),
      );
      for (const { names } of pipeline.directory.topicSets()) {
        if ((await pipeline.log.describeTopic(names.raw)) === null) continue;
        for (const { partition, end } of await pipeline.log.bounds(names.raw)) {
          if ((done.get(`${names.raw}/${partition}`) ?? -2) < end - 1) return false;
        }
      }
      return true;
    },
    () => stage.status(),
  );
}

/** All records of one partition. */
export async function readAll(
  log: EventLog,
  topic: string,
  partition: number,
): Promise<readonly StoredRecord[]> {
  const all: StoredRecord[] = [];
  for (;;) {
    const next = (all.at(-1)?.offset ?? -1) + 1;
    const records = await log.read(topic, partition, next, { recordsMax: 1000, bytesMax: 1_000_000 });
    if (records.length === 0) return all;
    all.push(...records);
  }
}

/** As the owner of the tables, behind row-level security. */
export async function asOwner<Result>(
  ownerUrl: string,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Counts of stage `process` summed over everything, by outcome. */
export async function countsOf(ownerUrl: string, stage = 'process'): Promise<Record<string, number>> {
  return await asOwner(ownerUrl, async (client) => {
    const { rows } = await client.query<{ outcome: string; events: string }>(
      'SELECT outcome, sum(events) AS events FROM stage_counts WHERE stage = $1 GROUP BY outcome',
      [stage],
    );
    return Object.fromEntries(rows.map((row) => [row.outcome, Number(row.events)]));
  });
}

/** What came out, per valid partition and in all dead letters: raw positions as `partition:offset`. */
export interface Audit {
  readonly valid: readonly (readonly string[])[];
  readonly deadLetters: ReadonlySet<string>;
  readonly eventIds: readonly string[];
}

/**
 * Reads the shared topics and checks what must always hold: rising sources, an unbroken chain of previous sources, each event id once
 * per tenant, every raw record valid, dead or a duplicate of a valid one, and counts that say exactly that.
 */
export async function audit(pipeline: Pipeline): Promise<Audit> {
  const [shared] = pipeline.directory.topicSets();
  assert.ok(shared);
  const { names } = shared;
  const valid: string[][] = [];
  const owners = new Map<string, string>();
  let raw = 0;
  for (let partition = 0; partition < partitions; partition++) {
    raw += (await readAll(pipeline.log, names.raw, partition)).length;
    let previous: string | undefined;
    let lastOffset = -1;
    const sources: string[] = [];
    for (const { headers } of await readAll(pipeline.log, names.valid, partition)) {
      assert.equal(headers['pulse_previous_source'], previous, `chain of partition ${partition}`);
      previous = headers['pulse_source'] as string;
      const [, sourcePartition, offset] = previous.split('.').map(Number) as [number, number, number];
      assert.equal(sourcePartition, partition);
      assert.ok(offset > lastOffset, `order of partition ${partition}: ${offset} after ${lastOffset}`);
      lastOffset = offset;
      const identity = `${headers['pulse_tenant']} ${headers['ce_id']}`;
      assert.ok(!owners.has(identity), `${identity} is twice in valid`);
      owners.set(identity, previous);
      sources.push(`${partition}:${offset}`);
    }
    valid.push(sources);
  }
  const deadLetters = new Set<string>();
  for (const { partition } of await pipeline.log.bounds(names.dlq)) {
    for (const { headers } of await readAll(pipeline.log, names.dlq, partition)) {
      const [, sourcePartition, offset] = (headers['pulse_source'] as string).split('.');
      deadLetters.add(`${sourcePartition}:${offset}`);
    }
  }
  const validCount = valid.flat().length;
  const counts = await countsOf(pipeline.ownerUrl);
  assert.deepEqual(
    { accepted: counts['accepted'], valid: counts['valid'] ?? 0, dead_letter: counts['dead_letter'] ?? 0 },
    { accepted: raw, valid: validCount, dead_letter: deadLetters.size },
  );
  assert.equal(counts['duplicate'] ?? 0, raw - validCount - deadLetters.size);
  return { valid, deadLetters, eventIds: [...owners.keys()] };
}
