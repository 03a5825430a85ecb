// B1: single events over HTTP with key, limit, Idempotency-Key and durability, beside a bare server that only parses and
// makes durable. Closed loop; rounds alternate between the two, because the disk's mood changes by the minute.
import { runLoad } from '../src/cli/loadgen/run.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult } from './lib/benchmark.ts';
import { type Server, startServer } from './lib/children.ts';
import { withFolder } from './lib/folders.ts';
import { benchTenants, plan } from './lib/load.ts';
import { median, ratios } from './lib/statistics.ts';

const warmUpMs = 3_000;

interface Sample {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuUs: number;
  readonly failed: number;
}

async function measure(server: Server, durationMs: number): Promise<Sample> {
  const cpuBefore = server.cpuUs();
  const report = await runLoad(
    plan({ origin: server.origin, tenants: benchTenants(10), durationMs, idempotencyKeys: true }),
  );
  return {
    perSecond: report.requests_per_second,
    p50: report.latency_ms.p50,
    p99: report.latency_ms.p99,
    cpuUs: (server.cpuUs() - cpuBefore) / report.sent.requests,
    failed: report.sent.requests - report.accepted.requests,
  };
}

async function run(context: BenchmarkContext): Promise<BenchmarkResult> {
  const pulse: Sample[] = [];
  const floor: Sample[] = [];
  await withFolder(async (folder) => {
    const servers = {
      floor: await startServer('floor.ts', [folder]),
      pulse: await startServer('collect.ts', [folder]),
    };
    try {
      for (const server of Object.values(servers)) await measure(server, warmUpMs);
      for (let round = 0; round < context.rounds && !context.signal.aborted; round++) {
        floor.push(await measure(servers.floor, context.seconds * 1000));
        pulse.push(await measure(servers.pulse, context.seconds * 1000));
        const [a, b] = [pulse.at(-1)?.perSecond ?? 0, floor.at(-1)?.perSecond ?? 1];
        context.log(`round ${round + 1}: Pulse ${a} req/s, floor ${b} req/s, ratio ${(a / b).toFixed(3)}`);
      }
    } finally {
      await Promise.all(Object.values(servers).map((server) => server.stop()));
    }
  });
  const of = (samples: readonly Sample[], name: keyof Sample): number[] =>
    samples.map((sample) => sample[name]);
  const ratio = ratios(of(pulse, 'perSecond'), of(floor, 'perSecond'));
  return {
    series: [
      { name: 'Pulse', unit: 'req/s', values: of(pulse, 'perSecond') },
      { name: 'floor', unit: 'req/s', values: of(floor, 'perSecond') },
      { name: 'ratio', unit: '', values: ratio },
      { name: 'Pulse p50', unit: 'ms', values: of(pulse, 'p50') },
      { name: 'Pulse p99', unit: 'ms', values: of(pulse, 'p99') },
      { name: 'floor p50', unit: 'ms', values: of(floor, 'p50') },
      { name: 'floor p99', unit: 'ms', values: of(floor, 'p99') },
      { name: 'Pulse CPU a request', unit: 'µs', values: of(pulse, 'cpuUs') },
      { name: 'floor CPU a request', unit: 'µs', values: of(floor, 'cpuUs') },
      { name: 'Pulse requests not accepted', unit: '', values: of(pulse, 'failed') },
    ],
    goals: [
      { name: 'B1 Pulse ÷ floor', found: median(ratio), wanted: 0.8, compare: 'at least' },
      {
        name: 'requests not accepted',
        found: Math.max(...of(pulse, 'failed')),
        wanted: 0,
        compare: 'at most',
      },
    ],
    notes: [
      '256 connections, 10 tenants, events of 500 bytes, an Idempotency-Key of its own on each request.',
    ],
  };
}

export const ingestSingle: Benchmark = {
  name: 'ingest-single',
  budget: 'B1',
  summary: 'Single events: key + limit + idempotency + durable, against a bare server.',
  defaults: { rounds: 5, seconds: 8 },
  run,
};
