// One lane: a consumer of the raw topics and the loop that does its batches, one after the other. Lanes share nothing but the
// group, which gives each raw partition to one of them.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { hasCode, PulseError } from '../core/errors.ts';
import { readPositions, type StagePosition, startOffsets } from '../database/positions.ts';
import type { Consumer, EventLog, PartitionBatch } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type BatchDependencies, doBatch, type Work } from './batch.ts';
import type { ProcessSettings } from './config.ts';
import { type Partition, type PartitionProblem, partitionKey, problemOf } from './partition.ts';
import { lastEmitted, restartPoint } from './restart.ts';
import { processStage } from './steps/route.ts';
import type { TopicSet } from './topic-set.ts';

/** The consumer group of all lanes. */
export const processGroup = 'process';

const pollWaitMs = 1_000;
// The hint only shortens a restart: writing it for each batch would cost a disk write each.
const hintIntervalMs = 200;
const pauseAfterLogErrorMs = 20;
const backOffMsMin = 50;
const backOffMsMax = 10_000;

export interface LaneDependencies extends BatchDependencies {
  readonly log: EventLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<ProcessSettings, 'PULSE_PROCESS_BATCH_RECORDS' | 'PULSE_PROCESS_BATCH_BYTES'>;
  /** Told when a partition stops or goes on again; must not throw. */
  readonly onCondition: (partition: Partition) => void;
}

/** A position that somebody else keeps moving is left to them after so many tries. */
const fencesMax = 3;

/** A lane over the given topics; `run` ends when the signal aborts, after the batch in hand. */
export class Lane {
  readonly #dependencies: LaneDependencies;
  readonly #sets: ReadonlyMap<string, TopicSet>;
  readonly #consumer: Consumer;
  readonly #signal: AbortSignal;
  #partitions = new Map<string, Partition>();
  #generation: number | null = null;
  #hintsAtMs = 0;
  readonly #hinted = new Map<string, number>();
  /** Partitions whose raw log broke; they go on as soon as it delivers again. */
  readonly #brokenInLog = new Set<Partition>();
  #problem: PartitionProblem | null = null;

  /** `sets` by name of their raw topic; the consumer covers exactly those. */
  constructor(
    dependencies: LaneDependencies,
    sets: ReadonlyMap<string, TopicSet>,
    consumer: Consumer,
    signal: AbortSignal,
  ) {
    this.#dependencies = dependencies;
    this.#sets = sets;
    this.#consumer = consumer;
    this.#signal = signal;
  }

  /** Partitions owned now. */
  partitions(): Iterable<Partition> {
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
  }

  async #poll(): Promise<readonly PartitionBatch[]> {
    const { settings } = this.#dependencies;
    try {
      return await this.#consumer.poll({
        recordsMax: settings.PULSE_PROCESS_BATCH_RECORDS,
        bytesMax: settings.PULSE_PROCESS_BATCH_BYTES,
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
    const positions = await readPositions(this.#dependencies.database, processStage);
    const hints = new Map<string, number>();
    for (const topic of new Set(partitions.map((owned) => owned.topic))) {
      for (const lag of await this.#dependencies.log.lag(processGroup, topic)) {
        hints.set(partitionKey(topic, lag.partition), lag.committed);
      }
    }
    const opened = new Map<string, Partition>();
    for (const { topic, partition } of partitions) {
      const set = this.#sets.get(topic);
      if (set === undefined) continue;
      const key = partitionKey(topic, partition);
      opened.set(key, await this.#openPartition(set, partition, positions, hints.get(key) ?? 0));
    }
    this.#partitions = opened;
    this.#generation = generation;
    this.#hinted.clear();
    this.#brokenInLog.clear();
  }

  async #openPartition(
    set: TopicSet,
    partition: number,
    positions: readonly StagePosition[],
    hint: number,
  ): Promise<Partition> {
    const { epoch } = set.facts;
    const row = positions.find((one) => one.epoch === epoch && one.partition === partition);
    const claimed = row ?? startOffsets;
    const opened: Partition = {
      set,
      partition,
      claimed: { sourceOffset: claimed.sourceOffset, logOffset: claimed.logOffset },
      routedThrough: -1,
      previous: null,
      nextOffset: 0,
      condition: 'running',
      problem: null,
      fences: 0,
    };
    try {
      const emitted = await lastEmitted(this.#dependencies.log, set.names.valid, partition);
      const point = restartPoint({ epoch, claimedThrough: claimed.sourceOffset, hint, emitted });
      this.#consumer.seek({ topic: set.names.raw, partition, offset: point.startOffset });
      opened.routedThrough = point.routedThrough;
      opened.previous = point.previous;
      opened.nextOffset = point.startOffset;
    } catch (error) {
      // The end of this valid partition cannot be read: the others need not wait for its repair.
      if (!(error instanceof PulseError) || error.retryable || error.code === 'PULSE_LOG_FENCED') throw error;
      this.#dependencies.logger.error({ err: error }, 'a raw partition cannot go on');
      this.#set(opened, 'stopped', problemOf(error));
    }
    return opened;
  }

  /** The records of a batch that are to be done; null when its partition has stopped. */
  #workOf(batch: PartitionBatch): Work | null {
    const partition = this.#partitions.get(partitionKey(batch.topic, batch.partition));
    if (partition === undefined) return null;
    if (partition.condition === 'stopped') {
      if (!this.#brokenInLog.delete(partition)) return null;
      this.#set(partition, 'running', null);
    }
    const records = batch.records.filter((record) => record.offset >= partition.nextOffset);
    return records.length === 0 ? null : { partition, records, nextOffset: batch.nextOffset };
  }

  /** Does the works, again and again until they are done, their partitions have stopped, or the lane ends. */
  async #do(works: readonly Work[]): Promise<void> {
    let open = works;
    const done = await this.#retried(
      works.map((work) => work.partition),
      async (attempt) => {
        open = open.filter((work) => work.partition.condition !== 'stopped');
        if (open.length === 0) return;
        // After an error nobody knows what was committed or appended: ask the database and the topic again.
        if (attempt > 0) await this.#resynchronize(open);
        const stopTimer = this.#dependencies.meter.batchSeconds.startTimer();
        await doBatch(this.#dependencies, open);
        stopTimer();
      },
    );
    if (!done) return;
    for (const { partition } of open) {
      partition.fences = 0;
      if (partition.condition === 'waiting') this.#set(partition, 'running', null);
    }
  }

  async #resynchronize(works: readonly Work[]): Promise<void> {
    const positions = await readPositions(this.#dependencies.database, processStage);
    for (const { partition } of works) {
      const { set } = partition;
      const { epoch } = set.facts;
      const row = positions.find((one) => one.epoch === epoch && one.partition === partition.partition);
      const emitted = await lastEmitted(this.#dependencies.log, set.names.valid, partition.partition);
      const claimed = row ?? startOffsets;
      const hint = partition.nextOffset;
      const point = restartPoint({ epoch, claimedThrough: claimed.sourceOffset, hint, emitted });
      partition.claimed = { sourceOffset: claimed.sourceOffset, logOffset: claimed.logOffset };
      partition.routedThrough = point.routedThrough;
      partition.previous = point.previous;
    }
  }

  /**
   * Tries with growing pauses until it succeeds; false when the lane ends first. Errors that name a broken partition stop
   * that partition at once and do not count as tries.
   */
  async #retried(affected: readonly Partition[], work: (attempt: number) => Promise<void>): Promise<boolean> {
    const { logger, meter } = this.#dependencies;
    for (let attempt = 0; ; attempt++) {
      try {
        await work(attempt);
        return true;
      } catch (error) {
        if (hasCode(error, 'PULSE_LOG_FENCED') || hasCode(error, 'PULSE_LOG_CLOSED')) throw error;
        meter.retries.inc();
        if (!this.#stopNamed(error)) {
          const pauseMs = Math.min(backOffMsMax, backOffMsMin * 2 ** Math.min(attempt, 20));
          const problem = problemOf(error);
          logger.warn({ err: error, attempt, pause_ms: pauseMs }, `process waits: ${problem.code}`);
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
      if (error.details?.['topic'] === partition.set.names.raw) this.#brokenInLog.add(partition);
      return true;
    });
    for (const partition of stopping) {
      if (partition.condition === 'stopped') continue;
      this.#dependencies.logger.error({ err: error }, 'a raw partition has stopped');
      this.#set(partition, 'stopped', problemOf(error));
    }
    return stopping.length > 0;
  }

  #set(partition: Partition, condition: Partition['condition'], problem: PartitionProblem | null): void {
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
        offsets.map(([, { set, partition, nextOffset }]) => ({
          topic: set.names.raw,
          partition,
          offset: nextOffset,
        })),
      );
    } catch (error) {
      if (hasCode(error, 'PULSE_LOG_FENCED')) throw error;
      logger.warn(
        { err: error },
        'the commit hint of process could not be written; a restart repeats more work',
      );
      return;
    }
    for (const [key, partition] of offsets) this.#hinted.set(key, partition.nextOffset);
  }

  async #pause(ms: number): Promise<void> {
    // An aborted pause ends early; the loop looks at the signal itself.
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {});
  }
}

/** Whether an error that stops partitions stops this one. */
function isNamed(error: PulseError, { set, partition }: Partition): boolean {
  const { topic, epoch, partition: named } = error.details ?? {};
  if (named !== undefined && named !== partition) return false;
  if (error.code === 'PULSE_DATABASE_POSITION_FENCED') return epoch === set.facts.epoch;
  if (error.code !== 'PULSE_LOG_CORRUPT' && error.code !== 'PULSE_LOG_OFFSET_LOST') return false;
  return topic === set.names.raw || topic === set.names.valid;
}
