// Process, dead-letter sink and repair over the real log and a real database, for tests of repair.
import assert from 'node:assert/strict';
import { silentLogger, type TestScope } from '../../../../tests/support/database.ts';
import { systemClock } from '../../../core/clock.ts';
import { uuidv7 } from '../../../core/ids.ts';
import { readSettings } from '../../../core/settings.ts';
import { epochOf } from '../../../database/epochs.ts';
import type { LogRecord } from '../../../ports/event-log/event-log.ts';
import { type ProcessSettings, processSettings } from '../../config.ts';
import { createDeadLetters } from '../../dead-letters/sink.ts';
import { asOwner, type Pipeline, readAll, testPipeline, until } from '../../testing/pipeline.ts';
import { rawRecord } from '../../testing/records.ts';
import { insertJob, type Job, readJob, type Selection } from '../jobs.ts';
import type { Target } from '../letters.ts';
import { type RepairRunnerDependencies, runJob } from '../runner.ts';

interface LetterRow {
  readonly id: string;
  readonly event_id: string;
  readonly state: string;
  readonly attempts: number;
  readonly code: string;
  readonly record_offset: string;
}

export interface World extends Pipeline {
  readonly target: Target;
  readonly dependencies: RepairRunnerDependencies;
  /** Sends events of `acme` and waits until each that is broken is a dead letter. */
  bury(...events: readonly (object | string)[]): Promise<readonly LetterRow[]>;
  letters(): Promise<readonly LetterRow[]>;
  makeJob(selection: Selection, options?: { patch?: string; dryRun?: boolean }): Promise<string>;
  /** Runs a job to its end in this process; `parts` stand in for some of the dependencies. */
  run(jobId: string, parts?: Partial<RepairRunnerDependencies>, signal?: AbortSignal): Promise<Job>;
  job(jobId: string): Promise<Job>;
  /** Results of the items, in order. */
  results(jobId: string): Promise<readonly (string | null)[]>;
  /** Event ids in the valid topic with their attempts. */
  valid(): Promise<readonly string[]>;
  /** Attempts beyond the first in the raw topic, as `origin attempt`. */
  attempts(): Promise<readonly string[]>;
  /** Waits until process has judged every raw record. */
  judged(): Promise<void>;
  /** Sums of `stage_counts` of process. */
  counts(): Promise<Record<string, number>>;
  sql<Row>(text: string, values?: unknown[]): Promise<Row[]>;
}

export const everything: Selection = {
  filter: {
    code: null,
    stage: null,
    event_type: null,
    event_id: null,
    fingerprint: null,
    fromMs: null,
    toMs: null,
  },
};

/** An event whose type is a number; `mend` repairs it. */
export function broken(eventId: string, more: object = {}): object {
  return { event_id: eventId, event_type: 7, data: { n: 1 }, ...more };
}
export const mend = '[{"op":"replace","path":"/event_type","value":"mended"}]';

export async function repairWorld(t: TestScope, settings: Partial<ProcessSettings> = {}): Promise<World> {
  const pipeline = await testPipeline(t);
  const { log, database, directory, ownerUrl } = pipeline;
  const allSettings = { ...readSettings(processSettings, {}), ...settings };
  const stage = await pipeline.start({ settings: allSettings });
  const sink = createDeadLetters({
    ...pipeline,
    clock: systemClock,
    logger: silentLogger,
    settings: allSettings,
  });
  t.after(() => sink.stop());
  await sink.start();
  const info = await log.describeTopic('events.raw');
  assert.ok(info);
  const target = { topic: info.topic, partitions: info.partitions, epoch: await epochOf(database, info) };
  const dependencies: RepairRunnerDependencies = {
    database,
    directory,
    log,
    rawTopic: async () => await Promise.resolve(target),
    clock: systemClock,
    settings: allSettings,
  };
  const sql = <Row>(text: string, values: unknown[] = []): Promise<Row[]> =>
    asOwner(ownerUrl, async (client) => (await client.query(text, values)).rows as Row[]);
  const job = async (jobId: string): Promise<Job> => {
    const found = await database.withTenant('acme', (client) => readJob(client, ['acme'], jobId));
    assert.ok(found);
    return found;
  };
  const letters = () =>
    sql<LetterRow>(
      `SELECT dead_letter_id AS id, event_id, state, attempts, code, record_offset FROM dead_letters
       WHERE tenant_id = 'acme' ORDER BY event_id, record_offset`,
    );
  const world: World = {
    ...pipeline,
    target,
    dependencies,
    sql,
    job,
    letters,
    bury: async (...events) => {
      const before = (await letters()).length;
      await log.append('events.raw', events.map(rawOf));
      await until(async () => (await letters()).length === before + events.length);
      return await letters();
    },
    makeJob: async (selection, { patch, dryRun = false } = {}) => {
      const jobId = uuidv7(Date.now());
      const bytes = patch === undefined ? null : Buffer.from(patch);
      await database.withTenant('acme', (client) =>
        insertJob(client, {
          tenantId: 'acme',
          jobId,
          dryRun,
          selection,
          patch: bytes,
          actor: 'test',
          nowMs: Date.now(),
        }),
      );
      return jobId;
    },
    run: async (jobId, parts = {}, signal = AbortSignal.timeout(20_000)) => {
      await runJob({ ...dependencies, ...parts }, { tenantId: 'acme', jobId }, signal);
      return await job(jobId);
    },
    results: async (jobId) =>
      (
        await sql<{ result: string | null }>(
          'SELECT result FROM repair_items WHERE job_id = $1 ORDER BY item',
          [jobId],
        )
      ).map((row) => row.result),
    valid: async () =>
      (await recordsOf(pipeline, 'events.valid'))
        .map(({ headers }) => `${headers['ce_id']} ${headers['pulse_attempt']}`)
        .sort(),
    attempts: async () =>
      (await recordsOf(pipeline, 'events.raw'))
        .filter(({ headers }) => headers['pulse_origin'] !== undefined)
        .map(({ headers }) => `${headers['pulse_origin']} ${headers['pulse_attempt']}`)
        .sort(),
    judged: async () => {
      await until(
        async () => {
          for (const { partition, end } of await log.bounds('events.raw')) {
            const done =
              stage.status().partitions.find((one) => one.partition === partition)?.doneOffset ?? -2;
            if (done < end - 1) return false;
          }
          return true;
        },
        () => stage.status(),
      );
    },
    counts: async () => {
      const rows = await sql<{ outcome: string; events: string }>(
        "SELECT outcome, sum(events) AS events FROM stage_counts WHERE stage = 'process' GROUP BY outcome HAVING sum(events) <> 0",
      );
      return Object.fromEntries(rows.map((row) => [row.outcome, Number(row.events)]));
    },
  };
  return world;
}

function rawOf(event: object | string, index: number): LogRecord {
  const id = typeof event === 'object' && 'event_id' in event ? String(event.event_id) : `sent-${index}`;
  const { headers, value } = rawRecord(event, { headers: { ce_id: id } });
  // One id always meets its first copy in its partition, as with collect.
  return { partition: id.length % 3, key: id, headers, value };
}

async function recordsOf({ log }: Pipeline, topic: string) {
  const all = [];
  for (const { partition } of await log.bounds(topic)) all.push(...(await readAll(log, topic, partition)));
  return all;
}
