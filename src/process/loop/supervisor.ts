// Keeps the lanes of one stage running: opens input topics as they appear, and starts the lanes anew when topics or owners change.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { PulseError } from '../../core/errors.ts';
import { clearStageError, readStageErrors, recordStageError } from '../../database/stage-errors.ts';
import type { Database } from '../../database/types.ts';
import type { Consumer, EventLog } from '../../ports/event-log/event-log.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Directory, TopicNames } from '../../tenancy/types.ts';
import { Lane } from './lane.ts';
import {
  type Partition,
  type PartitionCondition,
  type PartitionProblem,
  problemOf,
  type Source,
  type Task,
} from './partition.ts';

/** One input partition as an operator sees it. */
interface PartitionStatus {
  readonly topic: string;
  readonly partition: number;
  /** Last offset that is done and durable; -1 before the first. */
  readonly doneOffset: number;
  readonly condition: PartitionCondition;
  readonly problem: PartitionProblem | null;
}

/** A stage as an operator sees it. */
export interface LoopStatus {
  readonly partitions: readonly PartitionStatus[];
  /** What troubles the stage and cannot be put down to one partition; null while all is well. */
  readonly problem: PartitionProblem | null;
}

/** Topics that belong together, and the dedicated tenant that owns them. */
export interface WantedTopics {
  readonly tenantId: string | null;
  readonly names: TopicNames;
}

export interface SupervisorOptions<From extends Source, State> {
  readonly log: EventLog;
  readonly database: Database;
  readonly directory: Pick<Directory, 'topicSets'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lanes: number;
  readonly batch: { readonly recordsMax: number; readonly bytesMax: number };
  readonly task: Task<From, State>;
  /** Opens one input topic before any lane reads it; null while it does not exist yet. */
  readonly openSource: (wanted: WantedTopics) => Promise<From | null>;
  /** Called about once a second while all is well. */
  readonly onTick: (status: LoopStatus, sources: readonly From[]) => void;
}

const watchIntervalMs = 1_000;
const backOffMsMax = 10_000;

/** Made once per stage; `start` and `stop` once each. */
export class Supervisor<From extends Source, State> {
  readonly #options: SupervisorOptions<From, State>;
  readonly #stopping = new AbortController();
  /** Sources by the raw topic of their set, each opened once. */
  readonly #sources = new Map<string, From>();
  /** Topics that cannot be opened, by raw topic. */
  readonly #broken = new Map<string, PartitionProblem>();
  #lanes: readonly Lane<From, State>[] = [];
  #stopLanes: (() => Promise<void>) | null = null;
  /** Topics are new, a lane has failed, or the lanes could not be started when they were to be. */
  #lanesDue = false;
  #problem: PartitionProblem | null = null;
  #running: Promise<void> | null = null;
  #announcing: Promise<void> = Promise.resolve();

  constructor(options: SupervisorOptions<From, State>) {
    this.#options = options;
  }

  /** Starts in the background: an unreachable database or a missing topic is waited for. */
  start(): void {
    this.#running ??= this.#supervise();
  }

  /** Ends after the batches in hand. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#announcing;
  }

  status(): LoopStatus {
    const partitions = this.#lanes.flatMap((lane) => [...lane.partitions()].map(statusOf));
    const [broken] = this.#broken.values();
    const inLane = this.#lanes.map((lane) => lane.problem()).find((problem) => problem !== null);
    return { partitions, problem: this.#problem ?? inLane ?? broken ?? null };
  }

  /** One sentence for everything that waits or has stopped; null while all is well. */
  problem(): string | null {
    const { partitions, problem: general } = this.status();
    const sentences = general === null ? [] : [`${general.code}: ${general.detail}`];
    for (const { topic, partition, condition, problem } of partitions) {
      if (condition === 'running') continue;
      sentences.push(`${topic} partition ${partition} is ${condition}: ${problem?.code}: ${problem?.detail}`);
    }
    return sentences.length === 0 ? null : sentences.join('; ');
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    const { logger, task, onTick } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (await this.#openNewSources()) this.#lanesDue = true;
        if (this.#lanesDue) await this.#restartLanes();
        this.#problem = null;
        failures = 0;
        onTick(this.status(), [...this.#sources.values()]);
      } catch (error) {
        failures++;
        this.#problem = problemOf(error);
        logger.warn({ err: error }, `${task.stage} cannot start its lanes: ${this.#problem.code}`);
      }
      const pauseMs =
        failures === 0 ? watchIntervalMs : Math.min(backOffMsMax, 50 * 2 ** Math.min(failures, 10));
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
    await this.#endLanes();
  }

  /** Opens topics that are new in the directory; true when there were any. */
  async #openNewSources(): Promise<boolean> {
    const { directory, logger, openSource } = this.#options;
    let opened = false;
    for (const wanted of directory.topicSets()) {
      const { raw } = wanted.names;
      if (this.#sources.has(raw)) continue;
      try {
        const source = await openSource(wanted);
        if (source === null) continue;
        this.#sources.set(raw, source);
        this.#broken.delete(raw);
        opened = true;
      } catch (error) {
        if (!(error instanceof PulseError) || error.retryable) throw error;
        // One tenant's broken topics must not keep all others waiting.
        if (!this.#broken.has(raw)) logger.error({ err: error }, 'topics cannot be opened');
        this.#broken.set(raw, problemOf(error));
      }
    }
    return opened;
  }

  async #restartLanes(): Promise<void> {
    await this.#endLanes();
    const { log, task } = this.#options;
    const sources = new Map([...this.#sources.values()].map((source) => [source.topic, source]));
    const topics = [...sources.keys()];
    const ending = new AbortController();
    const consumers: Consumer[] = [];
    const runs: Promise<void>[] = [];
    this.#stopLanes = async () => {
      ending.abort();
      await Promise.all(runs);
      for (const consumer of consumers) await consumer.close();
    };
    if (topics.length === 0) {
      this.#lanesDue = false;
      return;
    }
    await this.#clearOldErrors(topics);
    // All join before the first one reads, so that no partition changes hands again.
    for (let index = 0; index < this.#options.lanes; index++) {
      consumers.push(await log.consume({ group: task.stage, topics, from: 'earliest' }));
    }
    const dependencies = {
      ...this.#options,
      onCondition: (one: Partition<From, State>) => this.#announce(one),
    };
    // Only now: whatever failed above is tried again.
    this.#lanesDue = false;
    this.#lanes = consumers.map((consumer) => new Lane(dependencies, sources, consumer, ending.signal));
    for (const lane of this.#lanes) runs.push(this.#watch(lane));
  }

  async #watch(lane: Lane<From, State>): Promise<void> {
    try {
      await lane.run();
    } catch (error) {
      this.#lanesDue = true;
      this.#problem = problemOf(error);
      const { logger, task } = this.#options;
      logger.error({ err: error }, `a lane of ${task.stage} ended; all its lanes are started anew`);
    }
  }

  async #endLanes(): Promise<void> {
    await this.#stopLanes?.();
    this.#stopLanes = null;
    this.#lanes = [];
  }

  /** Shows a stop to other processes, best effort: the partition's own condition is the truth here. */
  #announce({ source, partition, condition, problem }: Partition<From, State>): void {
    const { database, clock, logger, task } = this.#options;
    const place = { stage: task.stage, topic: source.topic, partition };
    const atMs = clock.now();
    // One after the other: a trouble that was recorded after it was cleared would be shown for ever.
    this.#announcing = this.#announcing
      .then(() =>
        condition === 'running' || problem === null
          ? clearStageError(database, place)
          : recordStageError(database, place, { ...problem, atMs }),
      )
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'the condition of a partition could not be shown'),
      );
  }

  /** Troubles of an earlier run are over, or will be met again. */
  async #clearOldErrors(topics: readonly string[]): Promise<void> {
    const { database, task } = this.#options;
    for (const old of await readStageErrors(database)) {
      if (old.stage === task.stage && topics.includes(old.topic)) await clearStageError(database, old);
    }
  }
}

function statusOf({
  source,
  partition,
  nextOffset,
  condition,
  problem,
}: Partition<Source, unknown>): PartitionStatus {
  return { topic: source.topic, partition, doneOffset: nextOffset - 1, condition, problem };
}
