// The partitions that one lane owns now: how far each is stored, which ones stand still, and when those are tried again.
import type { Clock } from '../core/clock.ts';
import { hasCode } from '../core/errors.ts';
import { clearStageError, readStageErrors, recordStageError } from '../database/stage-errors.ts';
import type { Database } from '../database/types.ts';
import type {
  Consumer,
  EventLog,
  PartitionBatch,
  PartitionOffset,
  TopicPartition,
} from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Judged, judgeBatch } from './batch.ts';
import { loadPartitions, type PartitionState, type Trouble } from './partition-state.ts';
import { stage } from './stage.ts';

/** After this long a stopped partition is read from the database and the log again: its cause may have been mended. */
export const recheckMs = 15_000;

export interface OwnedPartitionsOptions {
  readonly database: Database;
  readonly log: EventLog;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The raw topic of each valid topic. */
  readonly rawTopics: ReadonlyMap<string, string>;
  readonly consumer: Consumer;
}

/** Belongs to one consumer; thrown away with it. */
export class OwnedPartitions {
  readonly #options: OwnedPartitionsOptions;
  readonly #states = new Map<string, PartitionState>();
  #generation: number | null = null;

  constructor(options: OwnedPartitionsOptions) {
    this.#options = options;
  }

  /** Partitions in trouble, by topic and partition. */
  inTrouble(): readonly (TopicPartition & Trouble)[] {
    return [...this.#states.values()].flatMap(({ topic, partition, trouble }) =>
      trouble === null ? [] : [{ topic, partition, ...trouble }],
    );
  }

  /** False when partitions have changed hands since `takeUp`: what was polled since then starts at a mere hint. */
  isCurrent(): boolean {
    return this.#options.consumer.assignment().generation === this.#generation;
  }

  /** Reads the positions of newly owned partitions, and of stopped ones whose pause is over, and seeks to them. */
  async takeUp(): Promise<void> {
    const { generation, partitions } = this.#options.consumer.assignment();
    if (generation !== this.#generation) {
      this.#states.clear();
      await this.reload(partitions);
      await this.#rememberTrouble();
      this.#generation = generation;
    }
    const nowMs = this.#options.clock.now();
    for (const state of [...this.#states.values()]) {
      if (state.trouble === null || state.recheckAtMs > nowMs) continue;
      if (state.isStopped) await this.#recheck(state);
      else await this.#recovered(state);
    }
  }

  /** Reads the positions again, because memory may differ from the database, and seeks to them. */
  async reload(places: readonly TopicPartition[]): Promise<void> {
    const { database, log, rawTopics, consumer } = this.#options;
    for (const [topic, rawTopic] of rawTopics) {
      const partitions = places.filter((place) => place.topic === topic).map((place) => place.partition);
      if (partitions.length === 0) continue;
      for (const state of await loadPartitions({ database, log, rawTopic, topic, partitions })) {
        const before = this.#states.get(keyOf(state));
        state.trouble ??= before?.trouble ?? null;
        state.recheckAtMs = before?.recheckAtMs ?? 0;
        this.#states.set(keyOf(state), state);
        seek(consumer, { topic, partition: state.partition, offset: state.applied.logOffset });
      }
    }
  }

  /** Judges the records of every partition that is not stopped. */
  async judge(batches: readonly PartitionBatch[]): Promise<readonly Judged[]> {
    const judged: Judged[] = [];
    for (const batch of batches) {
      const state = this.#states.get(keyOf(batch));
      if (state === undefined || state.isStopped) continue;
      let result = judgeBatch(batch, state.applied);
      if (hasCode(result.problem, 'PULSE_STORE_EPOCH_UNKNOWN')) {
        // The epoch may have been made since the partition was taken up: a topic's first event makes it.
        state.applied = { ...state.applied, offsets: await this.#freshOffsets(batch) };
        result = judgeBatch(batch, state.applied);
      }
      judged.push(result);
    }
    return judged;
  }

  /** Takes note of what is stored now, and stops the partitions that have a problem. */
  async settle(judged: readonly Judged[]): Promise<void> {
    for (const { step, problem } of judged) {
      const state = this.#states.get(keyOf(step));
      if (state === undefined) continue;
      state.applied = step.next;
      if (problem !== null) await this.stop(step, { code: problem.code, detail: problem.message });
      else if (state.trouble !== null) await this.#recovered(state);
    }
  }

  /** Leaves a partition alone until it is looked at again; false when it is not owned. */
  async stop(place: TopicPartition, trouble: Trouble): Promise<boolean> {
    const state = this.#states.get(keyOf(place));
    if (state === undefined) return false;
    const { database, clock, logger } = this.#options;
    const isNews = state.trouble?.code !== trouble.code || state.trouble.detail !== trouble.detail;
    state.trouble = trouble;
    state.isStopped = true;
    state.recheckAtMs = clock.now() + recheckMs;
    if (!isNews) return true;
    const { topic, partition } = place;
    logger.error({ topic, partition, ...trouble }, 'the store stopped a partition');
    await recordStageError(database, { stage, topic, partition }, { ...trouble, atMs: clock.now() });
    return true;
  }

  async #freshOffsets(place: TopicPartition) {
    const { database, log, rawTopics } = this.#options;
    const { topic, partition } = place;
    const rawTopic = rawTopics.get(topic) ?? '';
    const [fresh] = await loadPartitions({ database, log, rawTopic, topic, partitions: [partition] });
    return fresh?.applied.offsets ?? new Map();
  }

  /** Troubles that an earlier owner has left: they stand until the partition has gone on for a while. */
  async #rememberTrouble(): Promise<void> {
    const { database, clock } = this.#options;
    for (const entry of await readStageErrors(database)) {
      const state = entry.stage === stage ? this.#states.get(keyOf(entry)) : undefined;
      if (state === undefined || state.trouble !== null) continue;
      state.trouble = { code: entry.code, detail: entry.detail };
      state.recheckAtMs = clock.now() + recheckMs;
    }
  }

  /** Goes on from what database and log say now; the trouble is shown until no record has met it again. */
  async #recheck(state: PartitionState): Promise<void> {
    await this.reload([state]);
    const fresh = this.#states.get(keyOf(state)) as PartitionState;
    fresh.recheckAtMs = this.#options.clock.now() + recheckMs;
  }

  async #recovered(state: PartitionState): Promise<void> {
    const { database, logger } = this.#options;
    const { topic, partition } = state;
    await clearStageError(database, { stage, topic, partition });
    state.trouble = null;
    logger.info({ topic, partition }, 'the store goes on with a partition');
  }
}

/** A partition that was handed over while its position was read is nobody's business here; `takeUp` begins anew. */
function seek(consumer: Consumer, target: PartitionOffset): void {
  try {
    consumer.seek(target);
  } catch (error) {
    if (!hasCode(error, 'PULSE_LOG_FENCED')) throw error;
  }
}

function keyOf(place: TopicPartition): string {
  return `${place.topic}/${place.partition}`;
}
