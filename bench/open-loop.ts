// B3: a whole Pulse with every role under an open loop of single events, with duplicates and malformed ones; then how long
// the sinks take until the reconciliation shows nothing in flight.
import { Api } from '../src/cli/api.ts';
import { balances } from '../src/cli/commands/reconcile.ts';
import { prepareTenants } from '../src/cli/loadgen/prepare.ts';
import { runLoad } from '../src/cli/loadgen/run.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult, Goal, Series } from './lib/benchmark.ts';
import { type RunningPulse, startPulse } from './lib/children.ts';
import { withFolder } from './lib/folders.ts';
import { plan } from './lib/load.ts';
import { median } from './lib/statistics.ts';

const tenants = 10;
const drainTimeoutMs = 180_000;

/** Target rates and what p99 may be at each. */
const steps = [
  { rate: 10_000, p99Ms: 50 },
  { rate: 12_500, p99Ms: 100 },
  { rate: 15_000, p99Ms: 100 },
] as const;

interface Sample {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly perSecond: number;
  /** Answers that were not meant to fail, and requests never sent. */
  readonly errors: number;
  readonly drainSeconds: number;
  readonly balances: number;
}

async function measure(pulse: RunningPulse, rate: number, context: BenchmarkContext): Promise<Sample> {
  const api = new Api({ origin: pulse.origin, credential: pulse.adminToken, signal: context.signal });
  const loadTenants = await prepareTenants({
    origin: pulse.origin,
    adminToken: pulse.adminToken,
    count: tenants,
    signal: context.signal,
  });
  const report = await runLoad(
    plan({
      origin: pulse.origin,
      tenants: loadTenants,
      rate,
      durationMs: context.seconds * 1000,
      duplicates: 0.05,
      malformed: 0.02,
    }),
    { signal: context.signal },
  );
  const drain = await waitUntilDrained(api, context.signal);
  const unexpected = report.rejected.requests - report.rejected.expected + report.rejected.events;
  return {
    p50: report.latency_ms.p50,
    p99: report.latency_ms.p99,
    p999: report.latency_ms.p999,
    perSecond: report.requests_per_second,
    errors: unexpected + report.throttled + report.unknown + report.unsent,
    drainSeconds: drain.seconds,
    balances: drain.balances ? 1 : 0,
  };
}

async function waitUntilDrained(
  api: Api,
  signal: AbortSignal,
): Promise<{ seconds: number; balances: boolean }> {
  const started = performance.now();
  for (;;) {
    const counts = await api.get('/v1/reconciliation');
    const elapsedMs = performance.now() - started;
    if (counts['in_flight'] === 0) return { seconds: elapsedMs / 1000, balances: balances(counts) };
    if (elapsedMs > drainTimeoutMs || signal.aborted)
      return { seconds: Number.POSITIVE_INFINITY, balances: false };
    await new Promise((resume) => setTimeout(resume, 250));
  }
}

async function run(context: BenchmarkContext): Promise<BenchmarkResult> {
  const samples = new Map<number, Sample[]>(steps.map(({ rate }) => [rate, []]));
  await withFolder(async (folder) => {
    const pulse = await startPulse(folder);
    try {
      context.log('warming up');
      await measure(pulse, 5_000, { ...context, seconds: 5 });
      for (let round = 0; round < context.rounds && !context.signal.aborted; round++) {
        for (const { rate } of steps) {
          const sample = await measure(pulse, rate, context);
          samples.get(rate)?.push(sample);
          context.log(
            `round ${round + 1}, ${rate} req/s: p50 ${sample.p50} p99 ${sample.p99} ms, ${sample.errors} errors, drained in ${sample.drainSeconds.toFixed(1)} s`,
          );
        }
      }
    } finally {
      await pulse.stop();
    }
  });
  return resultOf(samples);
}

function resultOf(samples: ReadonlyMap<number, readonly Sample[]>): BenchmarkResult {
  const series: Series[] = [];
  const goals: Goal[] = [];
  for (const { rate, p99Ms } of steps) {
    const found = samples.get(rate) ?? [];
    const of = (name: keyof Sample): number[] => found.map((sample) => sample[name]);
    series.push(
      { name: `${rate}/s: achieved`, unit: 'req/s', values: of('perSecond') },
      { name: `${rate}/s: p50`, unit: 'ms', values: of('p50') },
      { name: `${rate}/s: p99`, unit: 'ms', values: of('p99') },
      { name: `${rate}/s: p99.9`, unit: 'ms', values: of('p999') },
      { name: `${rate}/s: drained after`, unit: 's', values: of('drainSeconds') },
    );
    goals.push(
      { name: `B3 p99 at ${rate}/s`, found: median(of('p99')), wanted: p99Ms, compare: 'at most' },
      { name: `errors at ${rate}/s`, found: Math.max(...of('errors')), wanted: 0, compare: 'at most' },
      {
        name: `drained after ${rate}/s, s`,
        found: Math.max(...of('drainSeconds')),
        wanted: 60,
        compare: 'at most',
      },
      {
        name: `reconciliation closes at ${rate}/s`,
        found: Math.min(...of('balances')),
        wanted: 1,
        compare: 'at least',
      },
    );
  }
  return {
    series,
    goals,
    notes: [
      'Every role running; 256 connections, 10 tenants, 5 % duplicates, 2 % malformed, events of 500 bytes.',
    ],
  };
}

export const openLoop: Benchmark = {
  name: 'open-loop',
  budget: 'B3',
  summary: 'A whole Pulse under 10,000, 12,500 and 15,000 requests a second.',
  defaults: { rounds: 3, seconds: 30 },
  run,
};
