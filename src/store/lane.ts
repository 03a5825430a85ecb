// One lane of the store: a member of the consumer group that writes one batch after the other.

import type { Clock } from '../core/clock.ts';
import { hasCode, type PulseError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { Database } from '../database/types.ts';
import type { Consumer, EventLog, PartitionBatch, TopicPartition } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Backoff, pause } from './backoff.ts';
import type { Judged } from './batch.ts';
import { batchEvents, tally, writeDuration } from './metrics.ts';
import { OwnedPartitions } from './owned-partitions.ts';
import type { Trouble } from './partition-state.ts';
import { dayOf, type PartitionCalendar } from './partitions.ts';
import { type Work, type Written, writeBatch } from './write.ts';

/** How long a poll waits for the first record. */
/**
 * Pause after a small batch, so that the next one is larger: a transaction and its flush cost the same for one row as for
 * hundreds, and the front waits for the same disk.
 */
const gatherMs = 25;
const pollMs = 250;

export interface LaneOptions {
  readonly database: Database;
  readonly log: EventLog;
  readonly consumer: Consumer;
  /** The raw topic of each valid topic. */
  readonly rawTopics: ReadonlyMap<string, string>;
  readonly calendar: PartitionCalendar;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly batchEventsMax: number;
  readonly batchBytesMax: number;
}

/** What a lane shows. */
export interface LaneStatus {
  readonly inTrouble: readonly (TopicPartition & Trouble)[];
  /** Why nothing moves at all, for example because Postgres is down; null while batches go through. */
  readonly failure: (Trouble & { readonly sinceMs: number }) | null;
}

/**
 * Reads its share of the valid topics and stores it.
 * Guarantees: exactly once by the gap rule and the positions, whatever happens between two statements; order per
 * partition; a failing batch is tried again with growing pauses and never skipped.
 */
export class Lane {
  readonly #options: LaneOptions;
  readonly #backoff = new Backoff();
  readonly #owned: OwnedPartitions;
  #failure: LaneStatus['failure'] = null;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#owned = new OwnedPartitions(options);
  }

  status(): LaneStatus {
    return { inTrouble: this.#owned.inTrouble(), failure: this.#failure };
  }

  /**
   * Works until the signal is given; then the batch in hand is finished first.
   * Errors: those of the consumer, for example PULSE_LOG_FENCED when another process has taken the group over.
   */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) await this.#turn(signal);
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const owned = this.#owned;
    await owned.takeUp();
    const batches = await this.#poll(signal);
    if (batches.length === 0 || !owned.isCurrent()) return;
    const judged = await owned.judge(batches);
    const work: Work = {
      rows: judged.flatMap((entry) => entry.rows),
      steps: judged.map((entry) => entry.step),
    };
    if (work.rows.length > 0 && !(await this.#write(work, signal))) return;
    await owned.settle(judged);
    for (const { repeats } of judged) tally.repeats += repeats;
    await this.#commit(judged);
    if (work.rows.length > 0 && work.rows.length < this.#options.batchEventsMax / 2)
      await pause(gatherMs, signal);
  }

  /** Only a hint, by which the log knows what it may remove; a partition that was handed over has a new owner to give it. */
  async #commit(judged: readonly Judged[]): Promise<void> {
    try {
      await this.#options.consumer.commit(judged.map(committable));
    } catch (error) {
      if (!hasCode(error, 'PULSE_LOG_FENCED')) throw error;
    }
  }

  async #poll(signal: AbortSignal): Promise<readonly PartitionBatch[]> {
    const { consumer, batchEventsMax, batchBytesMax } = this.#options;
    try {
      const limits = { recordsMax: batchEventsMax, bytesMax: batchBytesMax, waitMs: pollMs };
      const batches = await consumer.poll({ ...limits, signal });
      // An idle store that can read and whose last write went through has nothing to complain about.
      if (batches.length === 0) this.#recovered();
      return batches;
    } catch (error) {
      if (signal.aborted) return [];
      const place = placeOf(error);
      const trouble = { code: codeOf(error), detail: (error as Error).message };
      if (place === null || !(await this.#owned.stop(place, trouble))) throw error;
      // The log keeps naming the broken place at each poll, while the other partitions go on.
      await pause(pollMs, signal);
      return [];
    }
  }

  /** True once the work is committed; false when the partitions were read again, or on the way out. */
  async #write(work: Work, signal: AbortSignal): Promise<boolean> {
    const { calendar, database } = this.#options;
    for (;;) {
      try {
        const homeless = await calendar.ensure(new Set(work.rows.map((row) => dayOf(row.receivedAt))));
        const endTimer = writeDuration.startTimer();
        const written = await writeBatch(database, work);
        failpoint('store.committed');
        endTimer();
        this.#recovered();
        this.#report(work, written, homeless);
        return true;
      } catch (error) {
        tally.retries++;
        this.#failed(error, 'a batch could not be stored and is tried again');
        await this.#backoff.wait(signal);
        if (signal.aborted) return false;
        if (isPositionInDoubt(error)) {
          // A COMMIT without an answer, or another owner: only the database knows what is stored.
          await this.#owned.reload(work.steps);
          return false;
        }
      }
    }
  }

  #report(work: Work, written: Written, homeless: ReadonlySet<string>): void {
    batchEvents.observe(work.rows.length);
    tally.stored += written.stored;
    tally.parked += written.parked.length;
    tally.conflicts += written.conflicts.length;
    for (const row of work.rows) {
      tally.storedBytes += row.value.length;
      if (homeless.size > 0 && homeless.has(dayOf(row.receivedAt))) tally.unpartitioned++;
    }
    const { logger } = this.#options;
    for (const { row, code, detail } of written.parked) {
      const { tenantId, eventId } = row;
      logger.warn(
        { tenant_id: tenantId, event_id: eventId, code, detail },
        'Postgres refused an event; it is parked',
      );
    }
    for (const { tenantId, eventId, source } of written.conflicts) {
      logger.error(
        { tenant_id: tenantId, event_id: eventId, position: source },
        'an event was stored already, although its position said otherwise',
      );
    }
  }

  #recovered(): void {
    if (this.#failure !== null) this.#options.logger.info('the store goes on');
    this.#failure = null;
    this.#backoff.reset();
  }

  #failed(error: unknown, message: string): void {
    const code = codeOf(error);
    const detail = error instanceof Error ? error.message : String(error);
    if (this.#failure?.code !== code) this.#options.logger.warn({ err: error, code }, message);
    this.#failure = { code, detail, sinceMs: this.#failure?.sinceMs ?? this.#options.clock.now() };
  }
}

function committable({ step }: Judged): { topic: string; partition: number; offset: number } {
  return { topic: step.topic, partition: step.partition, offset: step.next.logOffset };
}

function isPositionInDoubt(error: unknown): boolean {
  return hasCode(error, 'PULSE_DATABASE_COMMIT_UNKNOWN') || hasCode(error, 'PULSE_DATABASE_POSITION_FENCED');
}

function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' ? code : 'unexpected';
}

/** The place that a damaged or lost part of the log names; null for every other error. */
function placeOf(error: unknown): TopicPartition | null {
  if (!hasCode(error, 'PULSE_LOG_CORRUPT') && !hasCode(error, 'PULSE_LOG_OFFSET_LOST')) return null;
  const { topic, partition } = (error as PulseError).details ?? {};
  return typeof topic === 'string' && typeof partition === 'number' ? { topic, partition } : null;
}
