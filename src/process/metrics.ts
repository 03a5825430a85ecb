// Metrics of the process room. Hot paths count in plain numbers; prom-client reads them when it is asked.
import { Counter, Gauge, Histogram } from 'prom-client';
import type { EventLog } from '../ports/event-log/event-log.ts';
import { registry } from '../telemetry/registry.ts';
import type { Judged } from './steps/judge.ts';

const counts = { valid: 0, duplicate: 0, dead_letter: 0, repeat: 0 };
type Outcome = keyof typeof counts;

new Counter({
  name: 'pulse_process_records_total',
  help: 'Raw records by what became of them; a record that is done again after a restart counts once.',
  labelNames: ['outcome'],
  registers: [registry],
  collect() {
    this.reset();
    for (const [outcome, count] of Object.entries(counts)) this.inc({ outcome }, count);
  },
});

const seconds = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

const batchSeconds = new Histogram({
  name: 'pulse_process_batch_seconds',
  help: 'Time of one micro-batch from raw to routed.',
  buckets: seconds,
  registers: [registry],
});

const claimSeconds = new Histogram({
  name: 'pulse_process_claim_seconds',
  help: 'Time of the claim transaction of one micro-batch.',
  buckets: seconds,
  registers: [registry],
});

const retries = new Counter({
  name: 'pulse_process_retries_total',
  help: 'Micro-batches that had to be tried again because the database or the log failed.',
  labelNames: ['stage'],
  registers: [registry],
});

/** What the loop measures. */
export interface ProcessMeter {
  readonly batchSeconds: Pick<Histogram, 'startTimer'>;
  readonly claimSeconds: Pick<Histogram, 'startTimer'>;
  readonly retries: Pick<Counter, 'inc'>;
  /** Counts the records that `outcomeOf` gives an outcome. */
  count(judged: readonly Judged[], outcomeOf: (judged: Judged) => Outcome | null): void;
}

export const processMeter: ProcessMeter = {
  batchSeconds,
  claimSeconds,
  retries,
  count(judged, outcomeOf) {
    for (const one of judged) {
      const outcome = outcomeOf(one);
      if (outcome !== null) counts[outcome]++;
    }
  },
};

const lagRecords = new Gauge({
  name: 'pulse_process_lag_records',
  help: 'Records that wait in the input topics of a stage, over all its topics.',
  labelNames: ['stage'],
  registers: [registry],
});

const lagMilliseconds = new Gauge({
  name: 'pulse_process_lag_milliseconds',
  help: 'Age of the oldest record that waits in the input topics of a stage.',
  labelNames: ['stage'],
  registers: [registry],
});

/** Reads how far a stage is behind into its gauges. */
export async function measureLag(
  log: Pick<EventLog, 'lag'>,
  stage: string,
  topics: readonly string[],
): Promise<void> {
  let records = 0;
  let ms = 0;
  for (const topic of topics) {
    for (const lag of await log.lag(stage, topic)) {
      records += lag.lagRecords;
      ms = Math.max(ms, lag.lagMs);
    }
  }
  lagRecords.set({ stage }, records);
  lagMilliseconds.set({ stage }, ms);
}

export const stoppedPartitions = new Gauge({
  name: 'pulse_process_stopped_partitions',
  help: 'Input partitions that wait for help; /readyz and /v1/pipeline name the reason.',
  labelNames: ['stage'],
  registers: [registry],
});

export const ledgerRows = new Gauge({
  name: 'pulse_process_ledger_rows',
  help: 'Event ids that the ledger remembers, as Postgres estimates it.',
  registers: [registry],
});

export const ledgerHorizonSeconds = new Gauge({
  name: 'pulse_process_ledger_horizon_seconds',
  help: 'Age up to which a repeated event id is surely found.',
  registers: [registry],
});

export const deadLettersWritten = new Counter({
  name: 'pulse_dead_letters_written_total',
  help: 'Dead letters written into their table.',
  labelNames: ['code'],
  registers: [registry],
});

export const expiredRows = new Counter({
  name: 'pulse_process_expired_rows_total',
  help: 'Rows that retention removed.',
  labelNames: ['table'],
  registers: [registry],
});
