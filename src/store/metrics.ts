// Metrics of the store room. The hot path counts in plain numbers; Prometheus reads them when it asks.
import { Counter, Gauge, Histogram } from 'prom-client';
import { registry } from '../telemetry/registry.ts';

/** What the lanes and the live tail have counted in this process. */
export const tally = {
  stored: 0,
  storedBytes: 0,
  repeats: 0,
  parked: 0,
  conflicts: 0,
  retries: 0,
  unpartitioned: 0,
  streamSent: 0,
  streamDropped: 0,
};

function counter(name: string, help: string, key: keyof typeof tally): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(tally[key]);
    },
  });
}

counter('pulse_store_events_total', 'Events stored in Postgres by this process.', 'stored');
counter('pulse_store_bytes_total', 'Bytes of the canonical envelopes stored by this process.', 'storedBytes');
counter('pulse_store_repeats_total', 'Records skipped because they were stored before.', 'repeats');
counter('pulse_store_parked_total', 'Events that Postgres refused and that were parked.', 'parked');
counter(
  'pulse_store_conflicts_total',
  'Events that the primary key kept from being stored twice; anything above 0 is a defect.',
  'conflicts',
);
counter('pulse_store_retries_total', 'Batches tried again after a failure.', 'retries');
counter(
  'pulse_store_unpartitioned_events_total',
  'Events stored in the default partition because their day could get none of its own.',
  'unpartitioned',
);
counter('pulse_store_stream_events_total', 'Events sent to clients of the live tail.', 'streamSent');
counter(
  'pulse_store_stream_dropped_total',
  'Events that slow clients of the live tail missed.',
  'streamDropped',
);

/** From the first statement of a batch to its COMMIT. */
export const writeDuration = new Histogram({
  name: 'pulse_store_write_duration_seconds',
  help: 'How long one batch took from its first statement to its COMMIT.',
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  registers: [registry],
});

/** Events of one batch. */
export const batchEvents = new Histogram({
  name: 'pulse_store_batch_events',
  help: 'How many events one transaction stored.',
  buckets: [1, 10, 50, 100, 250, 500, 1000, 2000, 5000],
  registers: [registry],
});

/** How long searches and analytics took in Postgres. */
export const queryDuration = new Histogram({
  name: 'pulse_store_query_duration_seconds',
  help: 'How long a read of stored events took.',
  labelNames: ['query'] as const,
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  registers: [registry],
});

/** What a running store shows; set while it runs. */
export interface StoreGauges {
  /** Records of the valid topics that are not stored yet. */
  lagRecords(): Promise<number>;
  partitionsStopped(): number;
}

let gauges: StoreGauges | null = null;

/** Shows a running store; null once it has stopped. */
export function showStore(running: StoreGauges | null): void {
  gauges = running;
}

new Gauge({
  name: 'pulse_store_lag_records',
  help: 'Records of the valid topics that are not stored yet.',
  registers: [registry],
  async collect() {
    this.reset();
    if (gauges !== null) this.set(await gauges.lagRecords().catch(() => Number.NaN));
  },
});

new Gauge({
  name: 'pulse_store_partitions_stopped',
  help: 'Partitions that the store has stopped at a named error.',
  registers: [registry],
  collect() {
    this.set(gauges?.partitionsStopped() ?? 0);
  },
});

let streamClients: () => number = () => 0;

/** Tells where to read the number of clients of the live tail. */
export function showStreamClients(count: () => number): void {
  streamClients = count;
}

new Gauge({
  name: 'pulse_store_stream_clients',
  help: 'Clients of the live tail that are connected now.',
  registers: [registry],
  collect() {
    this.set(streamClients());
  },
});
