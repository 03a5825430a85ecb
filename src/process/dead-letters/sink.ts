// The stage `dead-letters`: dead-letter topics → table `dead_letters`, each once per (position, stage).

import type { Clock } from '../../core/clock.ts';
import { failpoint } from '../../core/failpoint.ts';
import { addStageCounts, type StageCount } from '../../database/counts.ts';
import { epochOf } from '../../database/epochs.ts';
import { advancePosition } from '../../database/positions.ts';
import type { Database, Queryable } from '../../database/types.ts';
import type { EventLog, StoredRecord } from '../../ports/event-log/event-log.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Directory } from '../../tenancy/types.ts';
import type { ProcessSettings } from '../config.ts';
import { processError } from '../errors.ts';
import { removeUpTo } from '../expiry.ts';
import type { Source, Task, Work } from '../loop/partition.ts';
import { type LoopStatus, Supervisor } from '../loop/supervisor.ts';
import { deadLettersWritten, expiredRows, measureLag, processMeter, stoppedPartitions } from '../metrics.ts';
import { createRepeater } from '../repeater.ts';
import { platformTenantId } from '../steps/identify.ts';
import { type DeadLetterRow, isFurtherAttempt, toRow } from './rows.ts';

/** Name in positions and errors, and the consumer group. */
const deadLettersStage = 'dead-letters';
/** Name in `stage_counts`. */
const countedStage = 'dead_letters';

export interface DeadLettersDependencies {
  readonly log: EventLog;
  readonly database: Database;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    ProcessSettings,
    | 'PULSE_PROCESS_BATCH_RECORDS'
    | 'PULSE_PROCESS_BATCH_BYTES'
    | 'PULSE_PROCESS_DEAD_LETTER_RETENTION_MS'
    | 'PULSE_PROCESS_EXPIRY_INTERVAL_MS'
  >;
}

/** The running sink. */
export interface DeadLettersStage {
  /** Starts in the background; an unreachable database or a missing topic is waited for. */
  start(): Promise<void>;
  /** Ends after the batch in hand. */
  stop(): Promise<void>;
  status(): LoopStatus;
  /** One sentence on what waits or has stopped; null while all is well. */
  problem(): string | null;
}

/** Makes the stage; nothing happens before `start`. */
export function createDeadLetters(dependencies: DeadLettersDependencies): DeadLettersStage {
  const { settings, log, logger, database, directory, clock } = dependencies;
  const supervisor = new Supervisor<Source, null>({
    ...dependencies,
    lanes: 1,
    batch: {
      recordsMax: settings.PULSE_PROCESS_BATCH_RECORDS,
      bytesMax: settings.PULSE_PROCESS_BATCH_BYTES,
    },
    task: deadLettersTask(database),
    openSource: async ({ names }) => {
      const info = await log.describeTopic(names.dlq);
      if (info === null) return null;
      return { topic: names.dlq, epoch: await epochOf(database, info), topics: [names.dlq] };
    },
    onTick: ({ partitions }, sources) => {
      const stopped = partitions.filter((one) => one.condition === 'stopped').length;
      stoppedPartitions.set({ stage: deadLettersStage }, stopped);
      const topics = sources.map((source) => source.topic);
      measureLag(log, deadLettersStage, topics).catch((error: unknown) =>
        logger.debug({ err: error }, 'the lag of dead letters could not be read'),
      );
    },
  });
  const expiry = createRepeater({
    intervalMs: settings.PULSE_PROCESS_EXPIRY_INTERVAL_MS,
    work: async (signal) => {
      const tenantIds = [...directory.tenants().map((tenant) => tenant.tenantId), platformTenantId];
      const cutMs = clock.now() - settings.PULSE_PROCESS_DEAD_LETTER_RETENTION_MS;
      for (const [timeMs, tables] of [
        [cutMs, agingTables] as const,
        [cutMs - attemptsExtraMs, agingAttempts] as const,
      ]) {
        for (const table of tables) {
          const removed = await removeUpTo(database, tenantIds, [table], timeMs, signal);
          expiredRows.inc({ table: table.table }, removed);
        }
      }
    },
    onError: (error) => logger.warn({ err: error }, 'dead letters could not be expired; it is tried again'),
  });
  return {
    start: async () => {
      supervisor.start();
      expiry.start();
      await Promise.resolve();
    },
    stop: async () => {
      await supervisor.stop();
      await expiry.stop();
    },
    status: () => supervisor.status(),
    problem: () => supervisor.problem(),
  };
}

const agingTables = [
  // A dead letter that is on its way back stays until it has arrived.
  { table: 'dead_letters', column: 'created_at', condition: "state <> 'reprocessing'" },
  { table: 'repair_items', column: 'created_at', condition: "state <> 'sent'" },
  { table: 'repair_jobs', column: 'created_at', condition: 'finished_at IS NOT NULL' },
] as const;
const agingAttempts = [{ table: 'repair_attempts', column: 'judged_at' }] as const;
/** The receipts of repaired events follow their attempts, so those stay longer than dead letters. */
const attemptsExtraMs = 365 * 86_400_000;

function deadLettersTask(database: Database): Task<Source, null> {
  return {
    stage: deadLettersStage,
    // The position moves with the rows, so it alone says where to go on; the commit hint is for retention.
    locate: async ({ source, position, end }) => {
      if (position.logOffset > end) {
        throw processError(
          'PULSE_PROCESS_LOG_REPLACED',
          `${source.topic} ends at offset ${end}, but the dead letters up to ${position.logOffset} are in their table.`,
          { details: { topic: source.topic } },
        );
      }
      return await Promise.resolve({ startOffset: position.logOffset, state: null });
    },
    doBatch: (works) => writeBatch(database, works),
    onRetry: () => processMeter.retries.inc({ stage: deadLettersStage }),
  };
}

interface Written {
  readonly row: DeadLetterRow;
  readonly record: StoredRecord;
  readonly topic: string;
}

/**
 * Writes rows, counts and positions in one transaction.
 * Guarantees: a dead letter that is in the table already is left as it is and not counted again.
 */
async function writeBatch(database: Database, works: readonly Work<Source, null>[]): Promise<void> {
  const letters = new Map<string, Written>();
  for (const { partition, records } of works) {
    for (const record of records) {
      // After an unknown COMMIT the position may lie beyond what this lane thought.
      if (record.offset < partition.position.logOffset) continue;
      // A further attempt that failed is no dead letter of its own: its verdict is in the row of the first one already.
      if (isFurtherAttempt(record.headers)) continue;
      const row = toRow(record, partition.source.epoch);
      if (!letters.has(row.dead_letter_id)) {
        letters.set(row.dead_letter_id, { row, record, topic: partition.source.topic });
      }
    }
  }
  const written = [...letters.values()];
  const tenantIds = new Set(written.map(({ row }) => row.tenant_id));
  const fresh = await database.withTenants([...tenantIds], async (client) => {
    failpoint('dead_letters.before_insert');
    const inserted = await insert(client, written);
    await Promise.all([
      addStageCounts(client, inserted.map(countOf)),
      ...works.map((work) => advance(client, work)),
    ]);
    failpoint('dead_letters.inserted');
    return inserted;
  });
  failpoint('dead_letters.committed');
  for (const { partition, nextOffset } of works)
    partition.position = nextOffsets(partition.position, nextOffset);
  for (const { row } of fresh) deadLettersWritten.inc({ code: row.code });
}

const columns = `dead_letter_id uuid, tenant_id text, epoch integer, partition integer, record_offset bigint, stage text,
  code text, event_id text, event_type text, failures jsonb, headers jsonb, fingerprint text, attempts integer, received_at timestamptz`;
const names = columns.replaceAll(/ (uuid|text|integer|bigint|jsonb|timestamptz)/g, '');

// The ledger of attempts knows better when the database is older than the log: an attempt may have been judged before this row came.
const insertSql = `
  INSERT INTO dead_letters (${names}, payload, state)
  SELECT ${names.replace('attempts', 'coalesce(last.attempt, attempts)')}, payload,
         CASE last.outcome WHEN 'valid' THEN 'repaired' WHEN 'duplicate' THEN 'duplicate' ELSE 'open' END
  FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (${columns}), unnest($2::bytea[])) AS letter (${names}, payload)
  LEFT JOIN LATERAL (
    SELECT a.attempt, a.outcome FROM repair_attempts a
    WHERE a.tenant_id = letter.tenant_id AND a.epoch = letter.epoch AND a.partition = letter.partition
      AND a.record_offset = letter.record_offset AND letter.stage = 'process'
    ORDER BY a.attempt DESC LIMIT 1) AS last ON true
  ON CONFLICT DO NOTHING RETURNING dead_letter_id AS id`;

/** Inserts what is not there yet and returns it. */
async function insert(client: Queryable, letters: readonly Written[]): Promise<readonly Written[]> {
  if (letters.length === 0) return [];
  const { rows } = await client.query<{ id: string }>(
    insertSql,
    [JSON.stringify(letters.map(({ row }) => row)), letters.map(({ record }) => record.value)],
    { name: 'dead_letters_insert' },
  );
  const inserted = new Set(rows.map(({ id }) => id));
  return letters.filter(({ row }) => inserted.has(row.dead_letter_id));
}

function countOf({ row, record, topic }: Written): StageCount {
  return {
    tenantId: row.tenant_id,
    receivedMinute: `${row.received_at.slice(0, 16)}:00.000Z`,
    stage: countedStage,
    outcome: 'dead_letter',
    topic,
    partition: record.partition,
    events: 1,
    bytes: record.value.length,
  };
}

async function advance(client: Queryable, { partition, nextOffset }: Work<Source, null>): Promise<void> {
  const next = nextOffsets(partition.position, nextOffset);
  if (next === partition.position) return;
  const { epoch } = partition.source;
  const move = {
    stage: deadLettersStage,
    epoch,
    partition: partition.partition,
    expected: partition.position,
    next,
  };
  await advancePosition(client, move);
}

function nextOffsets(position: Work<Source, null>['partition']['position'], nextOffset: number) {
  return nextOffset <= position.logOffset
    ? position
    : { sourceOffset: nextOffset - 1, logOffset: nextOffset };
}
