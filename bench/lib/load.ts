// The load that the ingest benchmarks send, made by the load generator of the command line.
import type { LoadPlan, LoadTenant } from '../../src/cli/loadgen/plan.ts';
import { loadLimits } from '../../src/cli/loadgen/plan.ts';

/** Tenants and keys of servers that are started with `benchKeys`. The keys are made up anew and guard nothing. */
export function benchTenants(count: number): readonly LoadTenant[] {
  return Array.from({ length: count }, (_, i) => ({
    tenantId: `load_${i}`,
    apiKey: `pk_${Buffer.from(`bench-key-${i}`.padEnd(32, '.')).toString('base64url')}`,
  }));
}

/** A plan with the defaults of the benchmarks. */
export function plan(
  changes: Pick<LoadPlan, 'origin' | 'tenants' | 'durationMs'> & Partial<LoadPlan>,
): LoadPlan {
  return {
    rate: null,
    connections: 256,
    requestsMax: loadLimits.requestsMax,
    batch: 1,
    eventBytes: 500,
    duplicates: 0,
    malformed: 0,
    idempotencyKeys: false,
    // A fresh seed for each run: the same ids twice would be duplicates.
    seed: Math.floor(Math.random() * 2 ** 32),
    reconnect: false,
    requestTimeoutMs: 30_000,
    drainMs: 60_000,
    ...changes,
  };
}
