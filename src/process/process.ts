// The stage `process`: raw → valid or dead letter. This file ties the loop to the batch and the restart rule.

import type { Clock } from '../core/clock.ts';
import { failpoint } from '../core/failpoint.ts';
import { readPositions, startOffsets } from '../database/positions.ts';
import type { Database } from '../database/types.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import { doBatch } from './batch.ts';
import type { ProcessSettings } from './config.ts';
import { createLedgerExpiry } from './ledger-expiry.ts';
import type { Task } from './loop/partition.ts';
import { type LoopStatus, Supervisor, type WantedTopics } from './loop/supervisor.ts';
import { measureLag, processMeter, stoppedPartitions } from './metrics.ts';
import { lastEmitted, type Routing, restartPoint, restoreLedger } from './restart.ts';
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

interface ProcessStatus extends LoopStatus {
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
  /** One sentence on what waits or has stopped; null while all is well. */
  problem(): string | null;
}

/** Makes the stage; nothing happens before `start`. */
export function createProcess(dependencies: ProcessDependencies): ProcessStage {
  const { settings, logger, log } = dependencies;
  const expiry = createLedgerExpiry(dependencies);
  const supervisor = new Supervisor<TopicSet, Routing>({
    ...dependencies,
    lanes: settings.PULSE_PROCESS_LANES,
    batch: {
      recordsMax: settings.PULSE_PROCESS_BATCH_RECORDS,
      bytesMax: settings.PULSE_PROCESS_BATCH_BYTES,
    },
    task: processTask(dependencies),
    openSource: (wanted) => openAndRestore(dependencies, wanted),
    onTick: ({ partitions }, sets) => {
      stoppedPartitions.set(
        { stage: processStage },
        partitions.filter((one) => one.condition === 'stopped').length,
      );
      measureLag(
        log,
        processStage,
        sets.map((set) => set.topic),
      ).catch((error: unknown) => logger.debug({ err: error }, 'the lag of process could not be read'));
    },
  });
  return {
    start: async () => {
      supervisor.start();
      expiry.start();
      await Promise.resolve();
    },
    stop: async () => {
      await supervisor.stop();
      await expiry.stop();
    },
    status: () => ({ ...supervisor.status(), ledgerHorizonMs: expiry.effectiveHorizonMs() }),
    problem: () => supervisor.problem(),
  };
}

function processTask(dependencies: ProcessDependencies): Task<TopicSet, Routing> {
  const batchDependencies = { ...dependencies, meter: processMeter };
  return {
    stage: processStage,
    locate: async ({ source, partition, position, hint, end }) => {
      const emitted = await lastEmitted(dependencies.log, source.names.valid, partition);
      failpoint('process.opened');
      const claimedThrough = position.sourceOffset;
      return restartPoint({ topic: source.topic, epoch: source.epoch, claimedThrough, hint, emitted, end });
    },
    doBatch: (works) => doBatch(batchDependencies, works),
    onRetry: () => processMeter.retries.inc({ stage: processStage }),
  };
}

/** Opens a set; before any of its partitions is read, the ledger must know everything that its valid topic holds. */
async function openAndRestore(
  dependencies: ProcessDependencies,
  wanted: WantedTopics,
): Promise<TopicSet | null> {
  const set = await openTopicSet(dependencies, wanted);
  if (set === null) return null;
  const rows = await readPositions(dependencies.database, processStage);
  const restored = await restoreLedger(
    dependencies,
    set,
    (partition) => rows.find((row) => row.epoch === set.epoch && row.partition === partition) ?? startOffsets,
  );
  if (restored > 0) {
    dependencies.logger.warn(
      { topic: set.topic, records: restored },
      'the database was older than the log; the ledger was filled from the valid topic',
    );
  }
  return set;
}
