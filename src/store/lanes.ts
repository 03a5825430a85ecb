// All lanes of this process: they join the consumer group together, and anew when topics come or go.
import type { Clock } from '../core/clock.ts';
import type { Database } from '../database/types.ts';
import type { Consumer, EventLog } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import { Backoff, pause } from './backoff.ts';
import { Lane, type LaneStatus } from './lane.ts';
import type { PartitionCalendar } from './partitions.ts';
import { stage } from './stage.ts';

/** How often to look whether topics have come or gone. */
const topicsCheckMs = 1_000;

export interface LanesOptions {
  readonly database: Database;
  readonly log: EventLog;
  readonly directory: Directory;
  readonly calendar: PartitionCalendar;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lanes: number;
  readonly batchEventsMax: number;
  readonly batchBytesMax: number;
}

/** Keeps the lanes running. */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #knownTopics = new Set<string>();
  #lanes: readonly Lane[] = [];
  #failure: LaneStatus['failure'] = null;

  constructor(options: LanesOptions) {
    this.#options = options;
  }

  /** What each lane shows, and before them why there may be none. */
  statuses(): readonly LaneStatus[] {
    return [{ inTrouble: [], failure: this.#failure }, ...this.#lanes.map((lane) => lane.status())];
  }

  /** Works until the signal is given. Never rejects: what goes wrong is shown, and tried again with growing pauses. */
  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    const { clock, logger } = this.#options;
    while (!signal.aborted) {
      const startedAtMs = performance.now();
      try {
        await this.#session(signal);
        this.#failure = null;
      } catch (error) {
        const { code = 'unexpected', message } = error as Error & { readonly code?: string };
        logger.warn({ err: error, code }, 'the store joins its consumer group again');
        this.#failure = { code, detail: message, sinceMs: this.#failure?.sinceMs ?? clock.now() };
        if (performance.now() - startedAtMs > 10_000) backoff.reset();
        await backoff.wait(signal);
      }
    }
  }

  /** From joining the group to leaving it, because of the signal, other topics, or a lane that failed. */
  async #session(signal: AbortSignal): Promise<void> {
    const { log, lanes } = this.#options;
    const rawTopics = await this.#topics();
    if (rawTopics.size === 0) return await pause(topicsCheckMs, signal);
    const ending = new AbortController();
    const sessionSignal = AbortSignal.any([signal, ending.signal]);
    const consumers: Consumer[] = [];
    let running: Promise<void>[] = [];
    try {
      // All join before the first one reads, so that no partition changes hands in the middle of its first batch.
      for (let i = 0; i < lanes; i++) {
        consumers.push(await log.consume({ group: stage, topics: [...rawTopics.keys()], from: 'earliest' }));
      }
      this.#lanes = consumers.map((consumer) => new Lane({ ...this.#options, consumer, rawTopics }));
      running = this.#lanes.map((lane) => lane.run(sessionSignal));
      this.#failure = null;
      await Promise.race([this.#watchTopics(rawTopics, sessionSignal), ...running]);
    } finally {
      ending.abort();
      await Promise.allSettled(running);
      for (const consumer of consumers) await consumer.close();
    }
  }

  /** Resolves when topics have come or gone. */
  async #watchTopics(known: ReadonlyMap<string, string>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(topicsCheckMs, signal);
      const now = await this.#topics();
      if (now.size !== known.size || [...now.keys()].some((topic) => !known.has(topic))) return;
    }
  }

  /** The valid topics that exist, each with its raw topic. */
  async #topics(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const { names } of this.#options.directory.topicSets()) {
      if (!this.#knownTopics.has(names.valid)) {
        if ((await this.#options.log.describeTopic(names.valid)) === null) continue;
        this.#knownTopics.add(names.valid);
      }
      found.set(names.valid, names.raw);
    }
    return found;
  }
}
