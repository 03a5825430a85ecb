// At a start: which Idempotency-Keys were stored lately, read from the log itself. The key of a request is part of its
// records, so it is durable exactly when they are, and a crash between "durable" and "answered" is remembered too.

import { header } from '../core/envelope.ts';
import { hasCode } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { EventLog, StoredRecord } from '../ports/event-log/event-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory } from '../tenancy/types.ts';
import type { IdempotencyMemory } from './idempotency.ts';
import type { RawTopic } from './steps/append.ts';

export interface RebuildOptions {
  readonly log: EventLog;
  readonly directory: Directory;
  readonly rawTopic: (tenantId: string) => RawTopic | Promise<RawTopic>;
  readonly logger: Logger;
  readonly memory: IdempotencyMemory;
  readonly nowMs: number;
  readonly ttlMs: number;
  /** Most records read, newest first. */
  readonly recordsMax: number;
  /** Most bytes read, newest first. */
  readonly bytesMax: number;
}

/** Records of one attempt of one request, as far as they were read. */
interface Attempt {
  readonly tenantId: string;
  readonly key: string;
  readonly hash: string;
  readonly epoch: number;
  readonly receivedAtMs: number;
  readonly partitions: Uint32Array;
  readonly offsets: Float64Array;
  seen: number;
}

const pageRecords = 4_096;
const pageBytes = 8 * 1_048_576;

/**
 * Fills the memory from the newest records of every raw topic, at most `ttlMs` old.
 * Guarantees: bounded by records and bytes over all topics; a request is remembered only when all its records were found,
 * since half an answer would be a wrong one. What is not found costs nothing but an append: the ledger knows the ids.
 * Errors: those of the log, but for damage: a damaged topic is left out.
 */
export async function rebuildIdempotency(options: RebuildOptions): Promise<void> {
  const attempts = new Map<string, Attempt>();
  const budget = { records: options.recordsMax, bytes: options.bytesMax };
  for (const raw of await rawTopics(options)) {
    try {
      await readTopic(options, raw, budget, attempts);
    } catch (error) {
      // One tenant's damaged topic keeps no other tenant from being served; the ledger still knows its ids.
      if (!hasCode(error, 'PULSE_LOG_CORRUPT') && !hasCode(error, 'PULSE_LOG_OFFSET_LOST')) throw error;
      options.logger.error({ err: error, topic: raw.topic }, 'idempotency keys of a damaged topic are lost');
    }
  }
  failpoint('collect.keys_rebuilt');
  const complete = [...attempts.values()].filter((attempt) => attempt.seen === attempt.offsets.length);
  complete.sort((a, b) => a.receivedAtMs - b.receivedAtMs);
  for (const { tenantId, key, hash, receivedAtMs, epoch, partitions, offsets } of complete) {
    options.memory.restore(tenantId, key, hash, receivedAtMs, { epoch, partitions, offsets });
  }
  options.logger.info(
    {
      keys: complete.length,
      incomplete: attempts.size - complete.length,
      records: options.recordsMax - budget.records,
    },
    'remembered idempotency keys from the log',
  );
}

/** The raw topics that tenants use now, each once. */
async function rawTopics(options: RebuildOptions): Promise<readonly RawTopic[]> {
  const tenantOf = new Map<string, string>();
  for (const { tenantId } of options.directory.tenants()) {
    tenantOf.set(options.directory.topics(tenantId).raw, tenantId);
  }
  const topics: RawTopic[] = [];
  for (const tenantId of tenantOf.values()) topics.push(await options.rawTopic(tenantId));
  return topics;
}

interface Budget {
  records: number;
  bytes: number;
}

async function readTopic(
  options: RebuildOptions,
  raw: RawTopic,
  budget: Budget,
  attempts: Map<string, Attempt>,
): Promise<void> {
  const starts = await options.log.offsetsAt(raw.topic, options.nowMs - options.ttlMs);
  const ends = await options.log.bounds(raw.topic);
  // Page by page from the end, the partitions in turn: when the budget ends, all reach back about equally far.
  const cursors = ends.map(({ partition, end, earliest }) => {
    const start = starts.find((entry) => entry.partition === partition)?.offset ?? earliest;
    return { partition, from: Math.max(start, earliest), upTo: end };
  });
  let open = cursors.filter((cursor) => cursor.upTo > cursor.from);
  while (open.length > 0 && budget.records > 0 && budget.bytes > 0) {
    for (const cursor of open) {
      const first = Math.max(cursor.from, cursor.upTo - Math.min(pageRecords, Math.max(1, budget.records)));
      await readPage(options, raw, cursor.partition, first, cursor.upTo, budget, attempts);
      cursor.upTo = first;
    }
    open = open.filter((cursor) => cursor.upTo > cursor.from);
  }
}

async function readPage(
  options: RebuildOptions,
  raw: RawTopic,
  partition: number,
  first: number,
  end: number,
  budget: Budget,
  attempts: Map<string, Attempt>,
): Promise<void> {
  for (let offset = first; offset < end && budget.bytes > 0; ) {
    const page = { recordsMax: end - offset, bytesMax: pageBytes };
    const records = await options.log.read(raw.topic, partition, offset, page);
    if (records.length === 0) return;
    for (const record of records) {
      budget.records--;
      budget.bytes -= record.value.length;
      noteRecord(record, raw.epoch, attempts);
    }
    offset = (records.at(-1) as StoredRecord).offset + 1;
  }
}

function noteRecord(record: StoredRecord, epoch: number, attempts: Map<string, Attempt>): void {
  const headers = record.headers;
  const key = headers[header.idempotencyKey];
  // Reprocessing repeats the headers of the first attempt, and none of it is an answer to a client.
  if (key === undefined || headers[header.attempt] !== '1') return;
  const tenantId = headers[header.tenant];
  const hash = headers[header.requestHash];
  const [index, count] = (headers[header.requestIndex] ?? '').split('/').map(Number);
  const receivedAt = headers[header.receivedAt];
  if (tenantId === undefined || hash === undefined || receivedAt === undefined) return;
  if (index === undefined || count === undefined || !(index >= 0 && index < count && count <= 100_000))
    return;
  // A client may try again under the same key after a doubtful answer: each attempt has its own request.
  const attemptKey = `${tenantId} ${key} ${receivedAt} ${headers[header.requestId]}`;
  let attempt = attempts.get(attemptKey);
  if (attempt === undefined) {
    const partitions = new Uint32Array(count);
    const offsets = new Float64Array(count).fill(-1);
    attempt = {
      tenantId,
      key,
      hash,
      epoch,
      receivedAtMs: Date.parse(receivedAt),
      partitions,
      offsets,
      seen: 0,
    };
    attempts.set(attemptKey, attempt);
  }
  if (attempt.offsets.length !== count || attempt.offsets[index] !== -1) return;
  attempt.partitions[index] = record.partition;
  attempt.offsets[index] = record.offset;
  attempt.seen++;
}
