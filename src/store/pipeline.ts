// How far each stage is, by partition: from the database and the log alone, so that any process can tell.
import { readStageErrors, type StageError } from '../database/stage-errors.ts';
import type { Queryable } from '../database/types.ts';
import type { PartitionLag } from '../ports/event-log/event-log.ts';
import type { TopicNames } from '../tenancy/types.ts';
import { read, type StoreRouteDependencies } from './access.ts';

/** One partition of a stage's input topic. */
interface PartitionReport {
  readonly topic: string;
  readonly partition: number;
  readonly state: 'running' | 'stopped';
  readonly lag_events: number;
  readonly lag_seconds: number;
  /** Last offset in effect, of the raw topic (of the dead-letter topic for dead letters); null before the first. */
  readonly source_offset: number | null;
  /** When that last moved. */
  readonly updated_at: string | null;
  readonly error: { readonly code: string; readonly detail: string | null; readonly at: string } | null;
}

interface StageReport {
  readonly stage: 'process' | 'dead-letters' | 'store';
  readonly state: 'running' | 'stopped';
  readonly lag_events: number;
  /** Age of the oldest event that waits. */
  readonly lag_seconds: number;
  /** Events of the caller's tenants, over the last whole minutes of receipt. */
  readonly events_per_second: number;
  readonly partitions: readonly PartitionReport[];
}

/** Input topic, the topic that positions name, and what counts as throughput. */
const stages = [
  {
    stage: 'process',
    input: (names: TopicNames) => names.raw,
    source: (names: TopicNames) => names.raw,
    counts: ['process/accepted'],
  },
  {
    stage: 'dead-letters',
    input: (names: TopicNames) => names.dlq,
    source: (names: TopicNames) => names.dlq,
    counts: ['dead_letters/dead_letter'],
  },
  {
    stage: 'store',
    input: (names: TopicNames) => names.valid,
    source: (names: TopicNames) => names.raw,
    counts: ['store/stored', 'store/parked'],
  },
] as const;

/** Whole minutes that the throughput is measured over. */
const rateMinutes = 5;

/**
 * The pipeline as some tenants see it: `sets` are the topics that hold their events.
 * `showDetail`: what stopped a partition in full; it may speak of other tenants' events, so it is for the administrator.
 */
export async function describePipeline(
  dependencies: StoreRouteDependencies,
  tenantIds: readonly string[],
  sets: readonly TopicNames[],
  showDetail: boolean,
): Promise<readonly StageReport[]> {
  const { database, log } = dependencies;
  const [errors, positions, rates] = await Promise.all([
    readStageErrors(database),
    readPositionsByTopic(database),
    read(dependencies, 'pipeline', tenantIds, (client) =>
      readRates(client, tenantIds, dependencies.clock.now()),
    ),
  ]);
  const reports: StageReport[] = [];
  for (const { stage, input, source, counts } of stages) {
    const partitions: PartitionReport[] = [];
    for (const names of sets) {
      const topic = input(names);
      if ((await log.describeTopic(topic)) === null) continue;
      for (const lag of await log.lag(stage, topic)) {
        const position = positions.get(`${stage}/${source(names)}/${lag.partition}`);
        partitions.push(
          partitionReport(lag, position, errorAt(errors, stage, topic, lag.partition), showDetail),
        );
      }
    }
    const events = rates
      .filter((rate) => (counts as readonly string[]).includes(`${rate.stage}/${rate.outcome}`))
      .reduce((sum, rate) => sum + rate.events, 0);
    reports.push({
      stage,
      state: partitions.some((partition) => partition.state === 'stopped') ? 'stopped' : 'running',
      lag_events: partitions.reduce((sum, partition) => sum + partition.lag_events, 0),
      lag_seconds: partitions.reduce((oldest, partition) => Math.max(oldest, partition.lag_seconds), 0),
      events_per_second: Math.round((events * 1000) / (rateMinutes * 60)) / 1000,
      partitions,
    });
  }
  return reports;
}

interface PositionRow {
  readonly key: string;
  readonly source_offset: number;
  readonly updated_at: Date;
}

/** Positions on the newest incarnation of each raw topic. */
async function readPositionsByTopic(database: Queryable): Promise<ReadonlyMap<string, PositionRow>> {
  const { rows } = await database.query<PositionRow>(
    `SELECT DISTINCT ON (stage, topic, partition) stage || '/' || topic || '/' || partition AS key, source_offset, updated_at
     FROM stage_positions JOIN log_epochs USING (epoch) ORDER BY stage, topic, partition, epoch DESC`,
  );
  return new Map(rows.map((row) => [row.key, row]));
}

interface Rate {
  readonly stage: string;
  readonly outcome: string;
  readonly events: number;
}

async function readRates(
  client: Queryable,
  tenantIds: readonly string[],
  nowMs: number,
): Promise<readonly Rate[]> {
  const minute = Math.floor(nowMs / 60_000) * 60_000;
  const { rows } = await client.query<Rate>(
    `SELECT stage, outcome, sum(events)::bigint AS events FROM stage_counts
     WHERE tenant_id = ANY ($1::text[]) AND received_minute >= $2::timestamptz AND received_minute < $3::timestamptz GROUP BY 1, 2`,
    [tenantIds, new Date(minute - rateMinutes * 60_000).toISOString(), new Date(minute).toISOString()],
  );
  return rows;
}

function errorAt(
  errors: readonly StageError[],
  stage: string,
  topic: string,
  partition: number,
): StageError | null {
  return (
    errors.find((one) => one.stage === stage && one.topic === topic && one.partition === partition) ?? null
  );
}

function partitionReport(
  lag: PartitionLag,
  position: PositionRow | undefined,
  error: StageError | null,
  showDetail: boolean,
): PartitionReport {
  return {
    topic: lag.topic,
    partition: lag.partition,
    state: error === null ? 'running' : 'stopped',
    lag_events: lag.lagRecords,
    lag_seconds: Math.round(lag.lagMs) / 1000,
    source_offset: position?.source_offset ?? null,
    updated_at: position?.updated_at.toISOString() ?? null,
    error:
      error === null
        ? null
        : { code: error.code, detail: showDetail ? error.detail : null, at: error.at.toISOString() },
  };
}
