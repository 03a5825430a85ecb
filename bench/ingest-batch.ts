// B2: batches of 100 events over HTTP, beside what one core does when it only parses the same bytes.

import { SeededRandom } from '../src/cli/loadgen/random.ts';
import { eventIdOf, eventJson, idPrefixOf } from '../src/cli/loadgen/request-template.ts';
import { runLoad } from '../src/cli/loadgen/run.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult } from './lib/benchmark.ts';
import { startServer } from './lib/children.ts';
import { withFolder } from './lib/folders.ts';
import { benchTenants, plan } from './lib/load.ts';
import { median, ratios } from './lib/statistics.ts';

const batch = 100;
const eventBytes = 500;
const connections = 32;
const warmUpMs = 3_000;
const parseMs = 2_000;

/** The bodies that the generator sends, made the same way. */
function bodies(): readonly Buffer[] {
  const random = new SeededRandom(1);
  const prefix = idPrefixOf(1);
  const time = new Date().toISOString();
  return Array.from({ length: 16 }, (_, body) => {
    const events = Array.from({ length: batch }, (_, i) =>
      eventJson({ id: eventIdOf(prefix, body * batch + i), time, bytes: eventBytes, random }),
    );
    return Buffer.from(`[${events.join(',')}]`);
  });
}

/** Events that one core parses in a second, from bytes to values. */
function parseRate(from: (bytes: Buffer) => unknown, sources: readonly Buffer[]): number {
  const started = performance.now();
  let events = 0;
  let elapsedMs = 0;
  while (elapsedMs < parseMs) {
    for (const source of sources) {
      const value = from(source);
      if (!Array.isArray(value)) throw new Error('a body is no array');
      events += value.length;
    }
    elapsedMs = performance.now() - started;
  }
  return (events * 1000) / elapsedMs;
}

async function run(context: BenchmarkContext): Promise<BenchmarkResult> {
  const sources = bodies();
  const pulse: number[] = [];
  const p99: number[] = [];
  const parse: number[] = [];
  const cpuUs: number[] = [];
  await withFolder(async (folder) => {
    const server = await startServer('collect.ts', [folder]);
    const load = (durationMs: number) =>
      runLoad(
        plan({
          origin: server.origin,
          tenants: benchTenants(10),
          durationMs,
          batch,
          eventBytes,
          connections,
        }),
      );
    try {
      await load(warmUpMs);
      for (let round = 0; round < context.rounds && !context.signal.aborted; round++) {
        parse.push(parseRate((bytes) => JSON.parse(bytes.toString('utf8')), sources));
        const cpuBefore = server.cpuUs();
        const report = await load(context.seconds * 1000);
        cpuUs.push((server.cpuUs() - cpuBefore) / report.sent.events);
        pulse.push(report.events_per_second);
        p99.push(report.latency_ms.p99);
        context.log(
          `round ${round + 1}: Pulse ${report.events_per_second} events/s, JSON.parse ${Math.round(parse.at(-1) ?? 0)}`,
        );
      }
    } finally {
      await server.stop();
    }
  });
  const ratio = ratios(pulse, parse);
  return {
    series: [
      { name: 'Pulse', unit: 'events/s', values: pulse },
      { name: 'JSON.parse of the same bytes, one core', unit: 'events/s', values: parse },
      { name: 'ratio', unit: '', values: ratio },
      { name: 'Pulse p99 a request', unit: 'ms', values: p99 },
      { name: 'Pulse CPU an event', unit: 'µs', values: cpuUs },
    ],
    goals: [
      { name: 'B2 Pulse ÷ JSON.parse', found: median(ratio), wanted: 0.4, compare: 'at least' },
      { name: 'B2 events/s', found: median(pulse), wanted: 150_000, compare: 'at least' },
    ],
    notes: [
      `Batches of ${batch} events of ${eventBytes} bytes, ${connections} connections, 10 tenants, closed loop.`,
    ],
  };
}

export const ingestBatch: Benchmark = {
  name: 'ingest-batch',
  budget: 'B2',
  summary: 'Batches of 100 events, against JSON.parse of the same bytes.',
  defaults: { rounds: 5, seconds: 8 },
  run,
};
