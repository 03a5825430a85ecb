// The embedded log beside a floor measured in the same run: bare pwrite + fdatasync of the same bytes into a file that
// was filled with zeros before.
import { closeSync, fdatasync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../src/ports/event-log/embedded/index.ts';
import { logCounts } from '../src/ports/event-log/embedded/metrics.ts';
import type { LogRecord } from '../src/ports/event-log/event-log.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult } from './lib/benchmark.ts';
import { withFolder } from './lib/folders.ts';
import { median, ratios } from './lib/statistics.ts';

/** Records per group commit, and how they come: calls per group, records per call. */
const shapes = [
  { records: 1, calls: 1 },
  { records: 64, calls: 64 },
  { records: 1_000, calls: 10 },
] as const;
const partitions = 6;
const floorFileBytes = 256 * 1_048_576;
const readPollRecords = 1_000;

function record(i: number): LogRecord {
  const time = '2026-01-01T00:00:00.000Z';
  return {
    partition: i % partitions,
    key: `device-${i % 1_000}`,
    headers: {
      ce_id: `0192f0c1-7a3b-7000-8000-${String(i).padStart(12, '0')}`,
      ce_type: 'trip.completed',
      ce_time: time,
      pulse_tenant: 'demo',
      pulse_received_at: time,
      pulse_protocol: 'native',
      pulse_attempt: '1',
      pulse_request_id: `req-${i}`,
    },
    value: Buffer.alloc(500, 120),
  };
}

interface Rate {
  readonly eventsPerSecond: number;
  readonly cpuUsPerEvent: number;
  readonly groupBytes: number;
}

/** Appends for `ms`, one group after the other. */
async function appendRate(
  log: EmbeddedEventLog,
  topic: string,
  shape: (typeof shapes)[number],
  ms: number,
): Promise<Rate> {
  await log.createTopic(topic, { partitions, retentionMs: 0, retentionBytes: 0 });
  const records = Array.from({ length: shape.records }, (_, i) => record(i));
  const perCall = shape.records / shape.calls;
  const calls = Array.from({ length: shape.calls }, (_, i) => records.slice(i * perCall, (i + 1) * perCall));
  await log.append(topic, records); // Opens the topic and fills its first segment.
  const before = { ...logCounts };
  const cpu = process.cpuUsage();
  const started = performance.now();
  let events = 0;
  // Two clients: one group is gathered while the other is written, as under any load.
  const client = async (): Promise<void> => {
    while (performance.now() - started < ms) {
      await Promise.all(calls.map((call) => log.append(topic, call)));
      events += shape.records;
    }
  };
  await Promise.all([client(), client()]);
  const elapsedMs = performance.now() - started;
  const used = process.cpuUsage(cpu);
  return {
    eventsPerSecond: (events * 1_000) / elapsedMs,
    cpuUsPerEvent: (used.user + used.system) / events,
    groupBytes: Math.round(
      (logCounts.appendedBytes - before.appendedBytes) / (logCounts.groups - before.groups),
    ),
  };
}

/** The floor: groups of as many bytes, from `records` records, with nothing around them. */
async function floorRate(
  descriptor: number,
  groupBytes: number,
  records: number,
  ms: number,
): Promise<number> {
  const bytes = Buffer.alloc(groupBytes, 120);
  const started = performance.now();
  let events = 0;
  for (let at = 0; performance.now() - started < ms; at += groupBytes) {
    if (at + groupBytes > floorFileBytes) at = 0;
    writeSync(descriptor, bytes, 0, groupBytes, at);
    await new Promise<void>((resolve, reject) => {
      fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
    events += records;
  }
  return (events * 1_000) / (performance.now() - started);
}

async function readRate(log: EmbeddedEventLog, topic: string, group: string): Promise<number> {
  const consumer = await log.consume({ group, topics: [topic], from: 'earliest' });
  const started = performance.now();
  let events = 0;
  for (;;) {
    const batches = await consumer.poll({ recordsMax: readPollRecords, bytesMax: 1e8, waitMs: 0 });
    if (batches.length === 0) break;
    for (const batch of batches) events += batch.records.length;
  }
  const elapsedMs = performance.now() - started;
  await consumer.close();
  return (events * 1_000) / elapsedMs;
}

async function makeFloorFile(path: string): Promise<number> {
  const descriptor = openSync(path, 'w+');
  const zeros = Buffer.alloc(4 * 1_048_576);
  for (let at = 0; at < floorFileBytes; at += zeros.length) writeSync(descriptor, zeros, 0, zeros.length, at);
  await new Promise<void>((resolve, reject) => {
    fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
  });
  return descriptor;
}

/** Appends at three group sizes beside the floor, and reads back. */
export async function benchLog(context: BenchmarkContext): Promise<BenchmarkResult> {
  const floors = shapes.map((): number[] => []);
  const rates = shapes.map((): number[] => []);
  const cpu = shapes.map((): number[] => []);
  const reads: number[] = [];
  const ms = (context.seconds * 1_000) / (shapes.length * 2);
  await withFolder(async (folder) => {
    const floorFile = await makeFloorFile(join(folder, 'floor'));
    const log = await createEmbeddedEventLog({
      directory: join(folder, 'log'),
      logger: pino({ level: 'warn' }),
    });
    try {
      for (let round = 0; round < context.rounds && !context.signal.aborted; round++) {
        for (const [i, shape] of shapes.entries()) {
          const found = await appendRate(log, `round-${round}-${shape.records}`, shape, ms);
          rates[i]?.push(found.eventsPerSecond);
          cpu[i]?.push(found.cpuUsPerEvent);
          floors[i]?.push(await floorRate(floorFile, found.groupBytes, shape.records, ms));
        }
        reads.push(await readRate(log, `round-${round}-1000`, `reader-${round}`));
        context.log(`log: round ${round + 1} of ${context.rounds}`);
      }
    } finally {
      await log.close();
      closeSync(floorFile);
    }
  });
  const series = shapes.flatMap((shape, i) => [
    { name: `append, groups of ${shape.records}`, unit: 'events/s', values: rates[i] as number[] },
    { name: `floor, groups of ${shape.records}`, unit: 'events/s', values: floors[i] as number[] },
    { name: `CPU per event, groups of ${shape.records}`, unit: 'µs', values: cpu[i] as number[] },
  ]);
  const last = shapes.length - 1;
  return {
    series: [...series, { name: 'read back', unit: 'events/s', values: reads }],
    goals: [
      {
        name: 'groups of 1000 beside the floor',
        found: median(ratios(rates[last] as number[], floors[last] as number[])),
        wanted: 0.7,
        compare: 'at least',
      },
      { name: 'read back, events/s', found: median(reads), wanted: 600_000, compare: 'at least' },
    ],
    notes: [
      'The floor writes into a file that was filled with zeros before the run; the log fills its own while it runs.',
      'Groups of 64 are 64 calls of one record each; groups of 1000 are 10 calls of 100.',
    ],
  };
}

/** `npm run bench -- log`. */
export const log: Benchmark = {
  name: 'log',
  budget: 'log',
  summary: 'Embedded log: appends at groups of 1, 64 and 1000 beside bare fdatasync, and reading back.',
  defaults: { rounds: 3, seconds: 12 },
  run: benchLog,
};
