// Metrics of tenancy. Hot paths count in plain numbers, which are read when somebody asks: making a metric registers it.
import { Counter, Gauge } from 'prom-client';
import { registry } from '../telemetry/registry.ts';

/** Why a credential was refused. */
export type RejectionReason = 'missing' | 'conflicting' | 'malformed' | 'unknown' | 'stale';

const rejections: Record<RejectionReason, number> = {
  missing: 0,
  conflicting: 0,
  malformed: 0,
  unknown: 0,
  stale: 0,
};

/** Counts one refused credential. */
export function countRejection(reason: RejectionReason): void {
  rejections[reason]++;
}

/** What the gauges read of each open directory of this process. */
export interface DirectoryFigures {
  readonly ageMs: number;
  readonly tenants: number;
  readonly keys: number;
}

const directories = new Set<() => DirectoryFigures>();

/** Shows a directory in the metrics until the returned function is called. */
export function watchDirectory(figures: () => DirectoryFigures): () => void {
  directories.add(figures);
  return () => directories.delete(figures);
}

function largest(field: keyof DirectoryFigures): number {
  return Math.max(0, ...[...directories].map((figures) => figures()[field]));
}

new Counter({
  name: 'pulse_tenancy_credentials_rejected_total',
  help: 'Requests refused for their credential, by reason.',
  labelNames: ['reason'],
  registers: [registry],
  collect() {
    this.reset();
    for (const [reason, count] of Object.entries(rejections)) this.inc({ reason }, count);
  },
});

new Gauge({
  name: 'pulse_tenancy_directory_age_seconds',
  help: 'Time since this process last read tenants and keys from Postgres.',
  registers: [registry],
  collect() {
    this.set(largest('ageMs') / 1000);
  },
});

new Gauge({
  name: 'pulse_tenancy_tenants',
  help: 'Tenants that this process knows.',
  registers: [registry],
  collect() {
    this.set(largest('tenants'));
  },
});

new Gauge({
  name: 'pulse_tenancy_keys',
  help: 'Live API keys that this process knows.',
  registers: [registry],
  collect() {
    this.set(largest('keys'));
  },
});
