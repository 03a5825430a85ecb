// One lane: a consumer and the loop that does its batches, one after the other. Lanes share nothing but the group, which gives
// each partition to one of them. What is done with a batch is the task's; waiting, retrying and stopping are the lane's.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { hasCode, PulseError } from '../../core/errors.ts';
import { failpoint } from '../../core/failpoint.ts';
import { readPositions, type StagePosition, startOffsets } from '../../database/positions.ts';
import type { Database } from '../../database/types.ts';
import type { Consumer, EventLog, PartitionBatch, PartitionLag } from '../../ports/event-log/event-log.ts';
import type { Logger } from '../../telemetry/logger.ts';
import {
  type Partition,
  type PartitionCondition,
  type PartitionProblem,
  problemOf,
  type Source,
  type Task,
  type Whereabouts,
  type Work,
} from './partition.ts';

const pollWaitMs = 1_000;
// The hint only shortens a restart: writing it for each batch would cost a disk write each.
const hintIntervalMs = 200;
const pauseAfterLogErrorMs = 20;
const backOffMsMin = 50;
const backOffMsMax = 10_000;
/** A position that somebody else keeps moving is left to them after so many tries. */
const fencesMax = 3;

export interface LaneDependencies<From extends Source, State> {
  readonly log: EventLog;
  readonly database: Database;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly batch: { readonly recordsMax: number; readonly bytesMax: number };
  readonly task: Task<From, State>;
  /** Told when a partition changes its condition; must not throw. */
  readonly onCondition: (partition: Partition<From, State>) => void;
}

/**
 * Pause after a small batch, so that the next one is larger. Each batch costs a commit and two flushes of the disk, whatever its
 * size; without the pause, sinks that keep up flush hundreds of times a second and the front waits behind them.
 */
const gatherMs = 25;

/** A lane over the given topics; `run` ends when the signal aborts, after the batch in hand. */
export class Lane<From extends Source, State> {
  readonly #dependencies: LaneDependencies<From, State>;
  readonly #sources: ReadonlyMap<string, From>;
  readonly #consumer: Consumer;
  readonly #signal: AbortSignal;
  #partitions = new Map<string, Partition<From, State>>();
  #generation: number | null = null;
  #hintsAtMs = 0;
  readonly #hinted = new Map<string, number>();
  /** Partitions whose input log broke; they go on as soon as it delivers again. */
  readonly #brokenInLog = new Set<Partition<From, State>>();
  #problem: PartitionProblem | null = null;

  /** `sources` by topic; the consumer covers exactly those. */
  constructor(
    dependencies: LaneDependencies<From, State>,
    sources: ReadonlyMap<string, From>,
    consumer: Consumer,
    signal: AbortSignal,
  ) {
    this.#dependencies = dependencies;
    this.#sources = sources;
    this.#consumer = consumer;
    this.#signal = signal;
  }

  /** Partitions owned now. */
  partitions(): Iterable<Partition<From, State>> {
    return this.#partitions.values();
  }

  /** What troubles the lane and cannot be put down to one partition. */
  problem(): PartitionProblem | null {
    return this.#problem;
  }

  /**
   * Runs until the signal aborts; the caller closes the consumer once all lanes have ended, so that no partition changes hands
   * while a batch is in hand.
   * Errors: what the loop cannot get over by itself, such as PULSE_LOG_FENCED; the caller starts a new lane.
   */
  async run(): Promise<void> {
    while (!this.#signal.aborted) await this.#turn();
    await this.#commitHints(true);
  }

  async #turn(): Promise<void> {
    if (this.#consumer.assignment().generation !== this.#generation) {
      const opened = await this.#retried([], () => this.#open());
      if (!opened) return;
      this.#problem = null;
    }
    const batches = await this.#poll();
    // What came in before a change of owners may belong to another lane by now.
    if (this.#consumer.assignment().generation !== this.#generation) return;
    const works = batches.map((batch) => this.#workOf(batch)).filter((work) => work !== null);
    if (works.length > 0) await this.#do(works);
    await this.#commitHints(false);
    const records = batches.reduce((sum, batch) => sum + batch.records.length, 0);
    if (records > 0 && records < this.#dependencies.batch.recordsMax / 2) await this.#pause(gatherMs);
  }

  async #poll(): Promise<readonly PartitionBatch[]> {
    try {
      return await this.#consumer.poll({
        ...this.#dependencies.batch,
        waitMs: Math.min(pollWaitMs, this.#hasOpenHints() ? hintIntervalMs : pollWaitMs),
        signal: this.#signal,
      });
    } catch (error) {
      if (this.#signal.aborted) return [];
      if (!this.#stopNamed(error)) {
        if (!hasCode(error, 'PULSE_LOG_CORRUPT')) throw error;
        this.#problem = problemOf(error);
      }
      // The log throws for the broken place at every poll, between the batches of other partitions.
      await this.#pause(pauseAfterLogErrorMs);
      return [];
    }
  }

  /** Looks up where every owned partition goes on, and seeks there. */
  async #open(): Promise<void> {
    const { generation, partitions } = this.#consumer.assignment();
    const look = await this.#lookUp(new Set(partitions.map((owned) => owned.topic)));
    const opened = new Map<string, Partition<From, State>>();
    for (const { topic, partition } of partitions) {
      const source = this.#sources.get(topic);
      if (source !== undefined)
        opened.set(keyOf(topic, partition), await this.#openPartition(look(source, partition)));
    }
    this.#partitions = opened;
    this.#generation = generation;
    this.#hinted.clear();
    this.#brokenInLog.clear();
  }

  /** Reads positions and lags once, and answers for single partitions from them. */
  async #lookUp(
    topics: ReadonlySet<string>,
  ): Promise<(source: From, partition: number) => Whereabouts<From>> {
    const { database, log, task } = this.#dependencies;
    const positions = new Map<string, StagePosition>();
    // Before the ends of the topics: a position can then never lie beyond an end that is only older.
    for (const row of await readPositions(database, task.stage))
      positions.set(`${row.epoch}.${row.partition}`, row);
    const lags = new Map<string, PartitionLag>();
    for (const topic of topics) {
      for (const lag of await log.lag(task.stage, topic)) lags.set(keyOf(topic, lag.partition), lag);
    }
    return (source, partition) => {
      const { sourceOffset, logOffset } = positions.get(`${source.epoch}.${partition}`) ?? startOffsets;
      const lag = lags.get(keyOf(source.topic, partition));
      const position = { sourceOffset, logOffset };
      return { source, partition, position, hint: lag?.committed ?? 0, end: lag?.end ?? 0 };
    };
  }

  async #openPartition(found: Whereabouts<From>): Promise<Partition<From, State>> {
    const { source, partition, position } = found;
    const { task, logger } = this.#dependencies;
    const common = { source, partition, position, condition: 'running', problem: null, fences: 0 } as const;
    try {
      const { startOffset, state } = await task.locate(found);
      this.#consumer.seek({ topic: source.topic, partition, offset: startOffset });
      return { ...common, state, nextOffset: startOffset };
    } catch (error) {
      if (!(error instanceof PulseError) || error.retryable || error.code === 'PULSE_LOG_FENCED') throw error;
      // The other partitions need not wait for the repair of this one.
      logger.error({ err: error, stage: task.stage }, 'a partition cannot go on');
      // Nothing of a stopped partition is ever done, so nobody asks for its state.
      const stopped: Partition<From, State> = { ...common, state: null as State, nextOffset: 0 };
      this.#set(stopped, 'stopped', problemOf(error));
      return stopped;
    }
  }

  /** The records of a batch that are to be done; null when its partition has stopped. */
  #workOf(batch: PartitionBatch): Work<From, State> | null {
    const partition = this.#partitions.get(keyOf(batch.topic, batch.partition));
    if (partition === undefined) return null;
    if (partition.condition === 'stopped') {
      if (!this.#brokenInLog.delete(partition)) return null;
      this.#set(partition, 'running', null);
    }
    const records = batch.records.filter((record) => record.offset >= partition.nextOffset);
    return records.length === 0 ? null : { partition, records, nextOffset: batch.nextOffset };
  }

  /** Does the works, again and again until they are done, their partitions have stopped, or the lane ends. */
  async #do(works: readonly Work<From, State>[]): Promise<void> {
    let open = works;
    const done = await this.#retried(
      works.map((work) => work.partition),
      async (attempt) => {
        open = open.filter((work) => work.partition.condition !== 'stopped');
        if (open.length === 0) return;
        // After an error nobody knows what was committed or appended: ask the database and the topic again.
        if (attempt > 0) await this.#resynchronize(open);
        await this.#dependencies.task.doBatch(open);
        for (const work of open) work.partition.nextOffset = work.nextOffset;
      },
    );
    if (!done) return;
    for (const { partition } of open) {
      partition.fences = 0;
      if (partition.condition === 'waiting') this.#set(partition, 'running', null);
    }
  }

  async #resynchronize(works: readonly Work<From, State>[]): Promise<void> {
    const look = await this.#lookUp(new Set(works.map((work) => work.partition.source.topic)));
    for (const { partition } of works) {
      const found = look(partition.source, partition.partition);
      // What this lane has done is known here, whatever was committed of it.
      const { state } = await this.#dependencies.task.locate({ ...found, hint: partition.nextOffset });
      partition.position = found.position;
      partition.state = state;
    }
  }

  /**
   * Tries with growing pauses until it succeeds; false when the lane ends first. Errors that name a broken partition stop
   * that partition at once and do not count as tries.
   */
  async #retried(
    affected: readonly Partition<From, State>[],
    work: (attempt: number) => Promise<void>,
  ): Promise<boolean> {
    const { logger, task } = this.#dependencies;
    for (let attempt = 0; ; attempt++) {
      try {
        await work(attempt);
        return true;
      } catch (error) {
        if (hasCode(error, 'PULSE_LOG_FENCED') || hasCode(error, 'PULSE_LOG_CLOSED')) throw error;
        task.onRetry();
        if (!this.#stopNamed(error)) {
          const pauseMs = Math.min(backOffMsMax, backOffMsMin * 2 ** Math.min(attempt, 20));
          const problem = problemOf(error);
          logger.warn(
            { err: error, stage: task.stage, attempt, pause_ms: pauseMs },
            `${task.stage} waits: ${problem.code}`,
          );
          if (affected.length === 0) this.#problem = problem;
          for (const partition of affected) {
            if (partition.condition !== 'stopped') this.#set(partition, 'waiting', problem);
          }
          await this.#pause(pauseMs);
        }
        if (this.#signal.aborted) return false;
      }
    }
  }

  /** Stops the partitions that an error names, when it is an error that stops; false for all others. */
  #stopNamed(error: unknown): boolean {
    if (!(error instanceof PulseError)) return false;
    const named = [...this.#partitions.values()].filter((partition) => isNamed(error, partition));
    const stopping = named.filter((partition) => {
      // Another owner may be about to end: only a position that keeps moving is given up.
      if (error.code === 'PULSE_DATABASE_POSITION_FENCED') return ++partition.fences > fencesMax;
      if (error.details?.['topic'] === partition.source.topic) this.#brokenInLog.add(partition);
      return true;
    });
    for (const partition of stopping) {
      if (partition.condition === 'stopped') continue;
      const { logger, task } = this.#dependencies;
      logger.error({ err: error, stage: task.stage }, 'a partition has stopped');
      this.#set(partition, 'stopped', problemOf(error));
    }
    return stopping.length > 0;
  }

  #set(
    partition: Partition<From, State>,
    condition: PartitionCondition,
    problem: PartitionProblem | null,
  ): void {
    const isSame = partition.condition === condition && partition.problem?.code === problem?.code;
    partition.condition = condition;
    partition.problem = problem;
    if (!isSame) this.#dependencies.onCondition(partition);
  }

  #hasOpenHints(): boolean {
    for (const [key, partition] of this.#partitions) {
      if (this.#hinted.get(key) !== partition.nextOffset) return true;
    }
    return false;
  }

  async #commitHints(now: boolean): Promise<void> {
    const { clock, logger } = this.#dependencies;
    if (!now && clock.now() - this.#hintsAtMs < hintIntervalMs) return;
    this.#hintsAtMs = clock.now();
    const offsets = [...this.#partitions].filter(
      ([key, partition]) => this.#hinted.get(key) !== partition.nextOffset && partition.nextOffset > 0,
    );
    if (offsets.length === 0) return;
    try {
      await this.#consumer.commit(
        offsets.map(([, { source, partition, nextOffset }]) => ({
          topic: source.topic,
          partition,
          offset: nextOffset,
        })),
      );
    } catch (error) {
      if (hasCode(error, 'PULSE_LOG_FENCED')) throw error;
      logger.warn({ err: error }, 'a commit hint could not be written; a restart repeats more work');
      return;
    }
    failpoint('process.hinted');
    for (const [key, partition] of offsets) this.#hinted.set(key, partition.nextOffset);
  }

  async #pause(ms: number): Promise<void> {
    // An aborted pause ends early; the loop looks at the signal itself.
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {});
  }
}

/** Errors of the log that waiting does not mend. */
const stoppingCodes = ['PULSE_LOG_CORRUPT', 'PULSE_LOG_OFFSET_LOST', 'PULSE_LOG_FORMAT_UNKNOWN'];

/** Whether an error that stops partitions stops this one. */
function isNamed(error: PulseError, { source, partition }: Partition<Source, unknown>): boolean {
  const { topic, epoch, partition: named } = error.details ?? {};
  if (named !== undefined && named !== partition) return false;
  if (error.code === 'PULSE_DATABASE_POSITION_FENCED') return epoch === source.epoch;
  return stoppingCodes.includes(error.code) && source.topics.some((name) => name === topic);
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
