// The store: lanes that bring valid events into Postgres, and the timer that ages them.
import type { Clock } from '../core/clock.ts';
import type { SettingValues } from '../core/settings.ts';
import type { Database } from '../database/types.ts';
import type { EventLog, TopicPartition } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import type { storeSettings } from './config.ts';
import type { LaneStatus } from './lane.ts';
import { Lanes } from './lanes.ts';
import { showStore } from './metrics.ts';
import type { Trouble } from './partition-state.ts';
import { PartitionCalendar } from './partitions.ts';
import { Retention } from './retention.ts';
import { stage } from './stage.ts';

export interface StoreDependencies {
  readonly database: Database;
  readonly log: EventLog;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    SettingValues<typeof storeSettings>,
    | 'PULSE_STORE_LANES'
    | 'PULSE_STORE_BATCH_EVENTS'
    | 'PULSE_STORE_BATCH_BYTES'
    | 'PULSE_STORE_RETENTION_DAYS'
  >;
}

interface StoreStatus {
  readonly inTrouble: readonly (TopicPartition & Trouble)[];
  readonly failures: readonly NonNullable<LaneStatus['failure']>[];
}

/** The sink of the valid topics. */
export interface Store {
  /** Starts the lanes; resolves at once, also while Postgres is down: the lanes wait for it. */
  start(): Promise<void>;
  /** Finishes the batches in hand, leaves the consumer group. Safe to call twice. */
  stop(): Promise<void>;
  status(): StoreStatus;
  /** Null while all is well; else what stopped, for /readyz. */
  problem(): string | null;
}

/** A failure that lasts this long is no hiccup any more. */
const failureShownMs = 5_000;

/** Makes the store; nothing runs before `start`. */
export function createStore(dependencies: StoreDependencies): Store {
  const { clock, logger, settings, database } = dependencies;
  const calendar = new PartitionCalendar(database, logger);
  const retention = new Retention({
    ...dependencies,
    calendar,
    retentionDays: settings.PULSE_STORE_RETENTION_DAYS,
  });
  const lanes = new Lanes({
    ...dependencies,
    calendar,
    lanes: settings.PULSE_STORE_LANES,
    batchEventsMax: settings.PULSE_STORE_BATCH_EVENTS,
    batchBytesMax: settings.PULSE_STORE_BATCH_BYTES,
  });
  const stopping = new AbortController();
  let running: Promise<unknown> = Promise.resolve();

  function status(): StoreStatus {
    const statuses = lanes.statuses();
    return {
      inTrouble: statuses.flatMap((entry) => entry.inTrouble),
      failures: statuses.flatMap((entry) => (entry.failure === null ? [] : [entry.failure])),
    };
  }

  return {
    status,
    async start() {
      showStore({
        lagRecords: () => lagRecords(dependencies),
        partitionsStopped: () => status().inTrouble.length,
      });
      running = Promise.all([retention.run(stopping.signal), lanes.run(stopping.signal)]);
    },
    async stop() {
      stopping.abort();
      await running;
      showStore(null);
    },
    problem() {
      const { inTrouble, failures } = status();
      const lasting = failures.filter((failure) => clock.now() - failure.sinceMs >= failureShownMs);
      const problems = [
        ...inTrouble.map(({ topic, partition, code, detail }) => `${topic}/${partition}: ${code}: ${detail}`),
        ...lasting.map(({ code, detail }) => `${code}: ${detail}`),
      ];
      return problems.length === 0 ? null : problems.join('; ');
    },
  };
}

async function lagRecords(dependencies: StoreDependencies): Promise<number> {
  const { directory, log } = dependencies;
  let records = 0;
  for (const { names } of directory.topicSets()) {
    if ((await log.describeTopic(names.valid)) === null) continue;
    for (const lag of await log.lag(stage, names.valid)) records += lag.lagRecords;
  }
  return records;
}
