// Step: the records into the log. When this resolves they are durable, and only then is anything answered.
import type { EventLog, LogRecord } from '../../ports/event-log/event-log.ts';
import type { Places } from '../idempotency.ts';
import { collectMetrics } from '../metrics.ts';

/** The raw topic of a tenant. */
export interface RawTopic {
  readonly topic: string;
  readonly partitions: number;
  /** Stands for (topic, incarnation) in positions and receipts. */
  readonly epoch: number;
}

/** Codes after which it is certain that nothing was stored. After every other failure it is not. */
const nothingStored = new Set([
  'PULSE_LOG_OVERLOADED',
  'PULSE_LOG_RECORD_INVALID',
  'PULSE_LOG_TOPIC_UNKNOWN',
]);

/** Appends the records, if any; resolves once they are durable. Errors: those of `EventLog.append`. */
export async function append(log: EventLog, raw: RawTopic, records: readonly LogRecord[]): Promise<Places> {
  if (records.length === 0) return { epoch: raw.epoch, partitions: [], offsets: [] };
  const startedMs = performance.now();
  const offsets = await log.append(raw.topic, records);
  collectMetrics.appendSeconds.add((performance.now() - startedMs) / 1000);
  const partitions: number[] = new Array(records.length);
  for (let i = 0; i < records.length; i++) partitions[i] = records[i]!.partition;
  return { epoch: raw.epoch, partitions, offsets };
}

/** True when an append that failed with this code has certainly stored nothing. */
export function hasStoredNothing(code: string): boolean {
  return nothingStored.has(code);
}
