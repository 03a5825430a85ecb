// B4: raw → valid → store. The raw topic is filled first, by a front alone; then the worker starts, and what counts is how
// fast the stored events grow. Beside it, bare SQL doing the same inserts into a database of its own.
import { join } from 'node:path';
import { Api } from '../src/cli/api.ts';
import { prepareTenants } from '../src/cli/loadgen/prepare.ts';
import { runLoad } from '../src/cli/loadgen/run.ts';
import { startEmbeddedPostgres } from '../src/database/embedded.ts';
import { migrate } from '../src/database/migrate.ts';
import { processSettings } from '../src/process/config.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult } from './lib/benchmark.ts';
import { startPulse } from './lib/children.ts';
import { withFolder } from './lib/folders.ts';
import { plan } from './lib/load.ts';
import { measureSqlFloor } from './lib/sql-floor.ts';
import { median, ratios } from './lib/statistics.ts';

const tenants = 10;
const eventBytes = 500;
const requestEvents = 100;
/** About what a second of the floor takes; the number of events follows from the wished seconds. */
const eventsPerSecond = 25_000;
const pollMs = 200;
const drainTimeoutMs = 300_000;

async function measurePipeline(folder: string, events: number, signal: AbortSignal): Promise<number> {
  const front = await startPulse(folder, { PULSE_ROLES: 'api,collect' });
  try {
    const { origin, adminToken } = front;
    const loadTenants = await prepareTenants({ origin, adminToken, count: tenants, signal });
    await runLoad(
      plan({
        origin,
        tenants: loadTenants,
        durationMs: 120_000,
        connections: 8,
        batch: requestEvents,
        eventBytes,
        requestsMax: events / requestEvents,
      }),
    );
  } finally {
    await front.stop();
  }
  const pulse = await startPulse(folder, { PULSE_ROLES: 'api,process,store' });
  try {
    return await storedPerSecond(
      new Api({ origin: pulse.origin, credential: pulse.adminToken, signal }),
      events,
    );
  } finally {
    await pulse.stop();
  }
}

/** From the first stored events that are seen to the last. */
async function storedPerSecond(api: Api, events: number): Promise<number> {
  const deadline = performance.now() + drainTimeoutMs;
  let first: { readonly atMs: number; readonly stored: number } | null = null;
  for (;;) {
    const stored = Number((await api.get('/v1/reconciliation'))['stored']);
    const atMs = performance.now();
    if (stored > 0) first ??= { atMs, stored };
    if (first !== null && stored >= events) return ((stored - first.stored) * 1000) / (atMs - first.atMs);
    if (atMs > deadline) throw new Error(`${stored} of ${events} events were stored in ${drainTimeoutMs} ms`);
    await new Promise((resume) => setTimeout(resume, pollMs));
  }
}

async function measureFloor(folder: string, events: number): Promise<number> {
  const logger = createLogger({ level: 'warn', process: 'bench' });
  const postgres = await startEmbeddedPostgres({ dataDirectory: folder, logger });
  try {
    await migrate({ ownerUrl: postgres.ownerUrl, appUrl: postgres.appUrl, logger });
    const batch = processSettings.PULSE_PROCESS_BATCH_RECORDS.defaultValue;
    return await measureSqlFloor({
      appUrl: postgres.appUrl,
      events,
      batch,
      eventBytes,
      connections: 2,
      tenants,
    });
  } finally {
    await postgres.stop();
  }
}

async function run(context: BenchmarkContext): Promise<BenchmarkResult> {
  const events = context.seconds * eventsPerSecond;
  const pipeline: number[] = [];
  const floor: number[] = [];
  for (let round = 0; round < context.rounds && !context.signal.aborted; round++) {
    await withFolder(async (folder) => {
      floor.push(await measureFloor(join(folder, 'floor'), events));
      pipeline.push(await measurePipeline(join(folder, 'pulse'), events, context.signal));
    });
    const [a, b] = [pipeline.at(-1) ?? 0, floor.at(-1) ?? 1];
    context.log(
      `round ${round + 1}: pipeline ${Math.round(a)} events/s, bare SQL ${Math.round(b)}, ratio ${(a / b).toFixed(3)}`,
    );
  }
  const ratio = ratios(pipeline, floor);
  return {
    series: [
      { name: 'raw → valid → store', unit: 'events/s', values: pipeline },
      { name: 'bare SQL', unit: 'events/s', values: floor },
      { name: 'ratio', unit: '', values: ratio },
    ],
    goals: [
      { name: 'B4 events/s', found: median(pipeline), wanted: 12_000, compare: 'at least' },
      { name: 'B4 pipeline ÷ bare SQL', found: median(ratio), wanted: 0.7, compare: 'at least' },
    ],
    notes: [
      `${events} events of ${eventBytes} bytes, 10 tenants. Bare SQL: two connections, batches as large as those of process.`,
    ],
  };
}

export const pipeline: Benchmark = {
  name: 'pipeline',
  budget: 'B4',
  summary: 'Raw to stored, against bare SQL doing the same inserts.',
  defaults: { rounds: 3, seconds: 8 },
  run,
};
