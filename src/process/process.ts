// The stage `process`: opens the topics, runs the lanes, and starts them anew when topics or owners change.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { PulseError } from '../core/errors.ts';
import { readPositions, startOffsets } from '../database/positions.ts';
import { clearStageError, readStageErrors, recordStageError } from '../database/stage-errors.ts';
import type { Database } from '../database/types.ts';
import type { Consumer, EventLog } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import type { ProcessSettings } from './config.ts';
import { Lane, type LaneDependencies, processGroup } from './lane.ts';
import { createLedgerExpiry, type LedgerExpiry } from './ledger-expiry.ts';
import { lagRecords, processMeter, stoppedPartitions } from './metrics.ts';
import { type Partition, type PartitionCondition, type PartitionProblem, problemOf } from './partition.ts';
import { restoreLedger } from './restart.ts';
import { processStage } from './steps/route.ts';
import { openTopicSet, type TopicSet } from './topic-set.ts';

export interface ProcessDependencies {
  readonly log: EventLog;
  readonly database: Database;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: ProcessSettings;
}

/** One raw partition as an operator sees it. */
export interface ProcessPartitionStatus {
  readonly topic: string;
  readonly partition: number;
  /** Last raw offset that is claimed, routed and durable; -1 before the first. */
  readonly doneOffset: number;
  readonly condition: PartitionCondition;
  readonly problem: PartitionProblem | null;
}

export interface ProcessStatus {
  readonly partitions: readonly ProcessPartitionStatus[];
  /** What keeps the lanes from running at all; null while they run. */
  readonly problem: PartitionProblem | null;
  /** Age up to which a repeated event id is surely found. */
  readonly ledgerHorizonMs: number;
}

/** The running stage. */
export interface ProcessStage {
  /** Starts in the background; an unreachable database or a missing topic is waited for. */
  start(): Promise<void>;
  /** Ends after the batches in hand; what is left is done by the next start. */
  stop(): Promise<void>;
  status(): ProcessStatus;
  /** One sentence on what has stopped; null while all is well. */
  problem(): string | null;
}

const watchIntervalMs = 1_000;

/** Makes the stage; nothing happens before `start`. */
export function createProcess(dependencies: ProcessDependencies): ProcessStage {
  return new Process(dependencies);
}

class Process implements ProcessStage {
  readonly #dependencies: ProcessDependencies;
  readonly #expiry: LedgerExpiry;
  readonly #stopping = new AbortController();
  /** Topic sets by raw topic, each opened once. */
  readonly #sets = new Map<string, TopicSet>();
  /** Topic sets that cannot be opened, by raw topic. */
  readonly #broken = new Map<string, PartitionProblem>();
  #lanes: readonly Lane[] = [];
  #stopLanes: (() => Promise<void>) | null = null;
  #laneFailed = false;
  #problem: PartitionProblem | null = null;
  #running: Promise<void> | null = null;

  constructor(dependencies: ProcessDependencies) {
    this.#dependencies = dependencies;
    this.#expiry = createLedgerExpiry(dependencies);
  }

  async start(): Promise<void> {
    this.#running ??= this.#supervise();
    this.#expiry.start();
    await Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#expiry.stop();
    await this.#running;
  }

  status(): ProcessStatus {
    const partitions = this.#lanes.flatMap((lane) => [...lane.partitions()].map(statusOf));
    const laneProblem = this.#lanes.map((lane) => lane.problem()).find((problem) => problem !== null);
    return {
      partitions,
      problem: this.#problem ?? laneProblem ?? null,
      ledgerHorizonMs: this.#expiry.effectiveHorizonMs(),
    };
  }

  problem(): string | null {
    const sentences: string[] = [];
    const { problem: general } = this.status();
    if (general !== null) sentences.push(`${general.code}: ${general.detail}`);
    for (const problem of this.#broken.values()) sentences.push(`${problem.code}: ${problem.detail}`);
    for (const { topic, partition, condition, problem } of this.status().partitions) {
      if (condition === 'running') continue;
      sentences.push(`${topic} partition ${partition} is ${condition}: ${problem?.code} ${problem?.detail}`);
    }
    return sentences.length === 0 ? null : sentences.join('; ');
  }

  /** Keeps the lanes running over all topic sets that exist, until the stage is stopped. */
  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const opened = await this.#openNewSets();
        if (opened || this.#laneFailed) await this.#restartLanes();
        this.#problem = null;
        failures = 0;
        this.#measure();
      } catch (error) {
        failures++;
        this.#problem = problemOf(error);
        this.#dependencies.logger.warn(
          { err: error },
          `process cannot start its lanes: ${this.#problem.code}`,
        );
      }
      const pauseMs = Math.min(10_000, failures === 0 ? watchIntervalMs : 100 * 2 ** Math.min(failures, 10));
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
    await this.#endLanes();
  }

  /** Opens topic sets that are new in the directory; true when there were any. */
  async #openNewSets(): Promise<boolean> {
    const { directory, database, log, logger } = this.#dependencies;
    let opened = false;
    for (const wanted of directory.topicSets()) {
      if (this.#sets.has(wanted.names.raw)) continue;
      try {
        const set = await openTopicSet(this.#dependencies, wanted);
        if (set === null) continue;
        const rows = await readPositions(database, processStage);
        const positions = (partition: number) =>
          rows.find((row) => row.epoch === set.facts.epoch && row.partition === partition) ?? startOffsets;
        const restored = await restoreLedger({ log, database }, set, positions);
        if (restored > 0)
          logger.warn(
            { topic: set.names.raw, records: restored },
            'the ledger was older than the log; its entries were restored',
          );
        this.#sets.set(wanted.names.raw, set);
        this.#broken.delete(wanted.names.raw);
        opened = true;
      } catch (error) {
        if (!(error instanceof PulseError) || error.retryable) throw error;
        // One tenant's broken topics must not keep all others waiting.
        if (!this.#broken.has(wanted.names.raw)) logger.error({ err: error }, 'topics cannot be processed');
        this.#broken.set(wanted.names.raw, problemOf(error));
      }
    }
    return opened;
  }

  async #restartLanes(): Promise<void> {
    await this.#endLanes();
    const { log, settings } = this.#dependencies;
    const topics = [...this.#sets.keys()];
    const sets = new Map(this.#sets);
    const ending = new AbortController();
    const consumers: Consumer[] = [];
    const runs: Promise<void>[] = [];
    this.#laneFailed = false;
    this.#stopLanes = async () => {
      ending.abort();
      await Promise.all(runs);
      for (const consumer of consumers) await consumer.close();
    };
    if (topics.length === 0) return;
    // All join before the first one reads, so that no partition changes hands again.
    for (let index = 0; index < settings.PULSE_PROCESS_LANES; index++) {
      consumers.push(await log.consume({ group: processGroup, topics, from: 'earliest' }));
    }
    this.#lanes = consumers.map(
      (consumer) => new Lane(this.#laneDependencies(), sets, consumer, ending.signal),
    );
    for (const lane of this.#lanes) runs.push(this.#watch(lane));
    await this.#clearOldErrors(topics);
  }

  async #watch(lane: Lane): Promise<void> {
    try {
      await lane.run();
    } catch (error) {
      this.#laneFailed = true;
      this.#problem = problemOf(error);
      this.#dependencies.logger.error({ err: error }, 'a lane of process ended; all lanes are started anew');
    }
  }

  async #endLanes(): Promise<void> {
    await this.#stopLanes?.();
    this.#stopLanes = null;
    this.#lanes = [];
  }

  #laneDependencies(): LaneDependencies {
    return {
      ...this.#dependencies,
      meter: processMeter,
      onCondition: (partition) => this.#announce(partition),
    };
  }

  /** Shows a stop to other processes, best effort: the partition's own condition is the truth here. */
  #announce(partition: Partition): void {
    const { database, clock, logger } = this.#dependencies;
    const { problem } = partition;
    const place = { stage: processStage, topic: partition.set.names.raw, partition: partition.partition };
    const written =
      partition.condition === 'running' || problem === null
        ? clearStageError(database, place)
        : recordStageError(database, place, { ...problem, atMs: clock.now() });
    written.catch((error: unknown) =>
      logger.warn({ err: error }, 'the condition of a partition could not be shown'),
    );
  }

  /** Troubles of an earlier run are over, or will be met again. */
  async #clearOldErrors(topics: readonly string[]): Promise<void> {
    const { database } = this.#dependencies;
    for (const old of await readStageErrors(database)) {
      if (old.stage === processStage && topics.includes(old.topic)) await clearStageError(database, old);
    }
  }

  #measure(): void {
    const { partitions } = this.status();
    stoppedPartitions.set(partitions.filter((one) => one.condition === 'stopped').length);
    const { log, logger } = this.#dependencies;
    const lags = [...this.#sets.values()].map(async (set) => {
      const rows = await log.lag(processGroup, set.names.raw);
      const records = rows.reduce((sum, row) => sum + row.lagRecords, 0);
      return { layout: set.facts.ownerId === null ? 'shared' : 'dedicated', records };
    });
    Promise.all(lags)
      .then((rows) => {
        for (const layout of ['shared', 'dedicated']) {
          const sum = rows
            .filter((row) => row.layout === layout)
            .reduce((total, row) => total + row.records, 0);
          lagRecords.set({ layout }, sum);
        }
      })
      .catch((error: unknown) => logger.debug({ err: error }, 'the lag of process could not be read'));
  }
}

function statusOf(partition: Partition): ProcessPartitionStatus {
  return {
    topic: partition.set.names.raw,
    partition: partition.partition,
    doneOffset: partition.nextOffset - 1,
    condition: partition.condition,
    problem: partition.problem,
  };
}
