// What the tests of the EventLog contract share: storage that is removed, records, and patient reading.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Consumer, EventLog, LogRecord, PartitionBatch, StoredRecord } from './event-log.ts';

/** What an adapter hands to the suite, fresh for each test. */
export interface ContractTarget {
  /** Opens the log. Every call of one target opens the same storage, as another process would. */
  open(): Promise<EventLog>;
  /** Removes the storage; called after all logs of this target were closed. */
  remove(): Promise<void>;
}

export const options = { partitions: 3, retentionMs: 0, retentionBytes: 0 };
export const plenty = { recordsMax: 10_000, bytesMax: 100_000_000 };
export const poll = { ...plenty, waitMs: 5_000 };

export type MakeTarget = () => Promise<ContractTarget>;

/** A target whose logs are closed, and whose storage is removed, when the test ends. */
export async function use(
  t: TestContext,
  makeTarget: MakeTarget,
): Promise<{ open: () => Promise<EventLog> }> {
  const target = await makeTarget();
  const opened: EventLog[] = [];
  t.after(async () => {
    for (const log of opened) await log.close();
    await target.remove();
  });
  return {
    open: async () => {
      const log = await target.open();
      opened.push(log);
      return log;
    },
  };
}

export async function useTopic(
  t: TestContext,
  makeTarget: MakeTarget,
): Promise<{ log: EventLog; open: () => Promise<EventLog> }> {
  const { open } = await use(t, makeTarget);
  const log = await open();
  await log.createTopic('events', options);
  return { log, open };
}

export function record(partition: number, text: string, more: Partial<LogRecord> = {}): LogRecord {
  return { partition, key: null, headers: {}, value: Buffer.from(text), ...more };
}

export function texts(records: readonly StoredRecord[]): string[] {
  return records.map((one) => one.value.toString());
}

export function recordsOf(batches: readonly PartitionBatch[]): StoredRecord[] {
  return batches.flatMap((batch) => [...batch.records]);
}

/** Polls until `count` records came, or fails after a few polls without any. */
export async function take(consumer: Consumer, count: number): Promise<StoredRecord[]> {
  const found: StoredRecord[] = [];
  for (let empty = 0; found.length < count && empty < 3; ) {
    const records = recordsOf(await consumer.poll({ ...poll, waitMs: 1_000 }));
    if (records.length === 0) empty++;
    found.push(...records);
  }
  assert.equal(found.length, count);
  return found;
}

/** A moment that lies after everything before and before everything behind. */
export async function pass(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 5));
  const now = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 5));
  return now;
}
