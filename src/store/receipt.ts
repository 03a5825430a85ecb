// Where an accepted event is now, derived from positions and tables; accepting it wrote nothing extra.
import { header } from '../core/envelope.ts';
import { formatPosition, formatReceiptId, type Receipt } from '../core/position.ts';
import type { Queryable } from '../database/types.ts';
import { read, type StoreRouteDependencies } from './access.ts';
import { storeError } from './errors.ts';
import { type RawRecord, readRawRecord } from './raw-record.ts';

/** One stage's part of the answer. */
interface StageReport {
  readonly state: 'done' | 'waiting' | 'parked';
  readonly at: string | null;
}

/** The answer of `GET /v1/receipts/{receipt_id}`. */
export interface ReceiptReport {
  readonly receipt_id: string;
  readonly event_id: string | null;
  readonly event_type: string | null;
  readonly state: 'in_flight' | 'stored' | 'duplicate' | 'dead_letter' | 'dropped';
  readonly stages: Readonly<Partial<Record<'received' | 'processed' | 'stored', StageReport>>>;
  readonly position: string;
  /** The attempt that brought it here; only on dead letters that were reprocessed and are none any more. */
  readonly attempt?: number;
  /** Receipt of the event that had this id first; on duplicates only. */
  readonly duplicate_of?: string;
  /** On dead letters only. */
  readonly dead_letter?: {
    readonly id: string;
    readonly code: string;
    readonly stage: string;
    readonly state: string;
  };
}

/**
 * The state of a receipt, for a caller who may see its tenant.
 * Guarantees: never answers for a record of another tenant; a foreign receipt and one that never was get the same error.
 * Errors: PULSE_STORE_RECEIPT_UNKNOWN; PULSE_STORE_RECEIPT_EXPIRED when nothing that is kept knows the position.
 */
export async function reportReceipt(
  dependencies: StoreRouteDependencies,
  receipt: Receipt,
): Promise<ReceiptReport> {
  const raw = await readRawRecord(dependencies, receipt);
  if (raw.kind === 'never') throw unknownReceipt(receipt);
  if (raw.kind === 'found' && raw.record.headers[header.tenant] !== receipt.tenantId)
    throw unknownReceipt(receipt);
  // Before the tables: what is at or below these positions is in the tables for certain.
  const progress = await readProgress(dependencies, receipt, raw.topic);
  const eventId = raw.kind === 'found' ? (raw.record.headers[header.id] ?? null) : null;
  const facts = await read(dependencies, 'receipt', [receipt.tenantId], (client) =>
    readFacts(client, receipt, eventId),
  );
  return judgeReceipt({ receipt, raw, progress, facts });
}

/** The error for a receipt that never was or is not the caller's. */
export function unknownReceipt(receipt: Receipt): Error {
  return storeError('PULSE_STORE_RECEIPT_UNKNOWN', `There is no receipt ${formatReceiptId(receipt)}.`);
}

interface Progress {
  readonly claimedThrough: number;
  readonly storedThrough: number;
  /** True while dead letters may be on their way into their table. */
  readonly deadLettersWaiting: boolean;
}

async function readProgress(
  { database, log, directory }: StoreRouteDependencies,
  receipt: Receipt,
  rawTopic: string,
): Promise<Progress> {
  const { rows } = await database.query<{ stage: string; source_offset: number }>(
    `SELECT stage, source_offset FROM stage_positions WHERE epoch = $1 AND partition = $2`,
    [receipt.epoch, receipt.partition],
  );
  const through = (stage: string): number => rows.find((row) => row.stage === stage)?.source_offset ?? -1;
  const names = directory.topicSets().find((set) => set.names.raw === rawTopic)?.names;
  let deadLettersWaiting = false;
  const dlq = names === undefined ? null : await log.describeTopic(names.dlq);
  if (dlq !== null) {
    const lags = await log.lag('dead-letters', dlq.topic);
    deadLettersWaiting = (lags[receipt.partition % dlq.partitions]?.lagRecords ?? 0) > 0;
  }
  return { claimedThrough: through('process'), storedThrough: through('store'), deadLettersWaiting };
}

interface DeadLetterFact {
  readonly id: string;
  readonly code: string;
  readonly stage: string;
  readonly state: string;
  readonly received_at: Date;
}

interface PositionFact {
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly at: Date;
}

interface Facts {
  readonly deadLetter: DeadLetterFact | null;
  readonly isParked: boolean;
  /** Ledger entries of the event id; several when CloudEvents of different sources share it. */
  readonly claims: readonly PositionFact[];
  /** Stored events of the event id. */
  readonly events: readonly PositionFact[];
  /** The last attempt of a dead letter that was judged; null when it had none but the first. */
  readonly repair: RepairFact | null;
}

/** A further attempt of the event, and the record that made it. */
interface RepairFact extends PositionFact {
  readonly attempt: number;
  readonly outcome: 'valid' | 'duplicate' | 'dead_letter';
  /** The store's position in the partition of that record. */
  readonly stored_through: number;
  readonly is_parked: boolean;
}

async function readFacts(client: Queryable, receipt: Receipt, eventId: string | null): Promise<Facts> {
  const place = [receipt.tenantId, receipt.epoch, receipt.partition, receipt.offset];
  const [deadLetters, parked, claims, events, repairs] = await Promise.all([
    client.query<DeadLetterFact>(
      `SELECT dead_letter_id AS id, code, stage, state, received_at FROM dead_letters
       WHERE tenant_id = $1 AND epoch = $2 AND partition = $3 AND record_offset = $4 LIMIT 1`,
      place,
    ),
    client.query(
      'SELECT 1 FROM store_parked WHERE tenant_id = $1 AND epoch = $2 AND partition = $3 AND record_offset = $4',
      place,
    ),
    client.query<PositionFact>(
      `SELECT epoch, partition, record_offset, claimed_at AS at FROM processed_event_ids
       WHERE tenant_id = $1 AND event_id = $2 ORDER BY claimed_at LIMIT 100`,
      [receipt.tenantId, eventId],
    ),
    client.query<PositionFact>(
      `SELECT epoch, partition, record_offset, stored_at AS at FROM events
       WHERE tenant_id = $1 AND event_id = $2 ORDER BY received_at LIMIT 100`,
      [receipt.tenantId, eventId],
    ),
    client.query<RepairFact>(
      `SELECT attempt, outcome, attempt_epoch AS epoch, attempt_partition AS partition, attempt_offset AS record_offset, judged_at AS at,
              coalesce((SELECT source_offset FROM stage_positions s WHERE s.stage = 'store' AND s.epoch = attempt_epoch
                        AND s.partition = attempt_partition), -1) AS stored_through,
              EXISTS (SELECT FROM store_parked p WHERE p.tenant_id = $1 AND p.epoch = attempt_epoch
                      AND p.partition = attempt_partition AND p.record_offset = attempt_offset) AS is_parked
       FROM repair_attempts WHERE tenant_id = $1 AND epoch = $2 AND partition = $3 AND record_offset = $4
       ORDER BY attempt DESC LIMIT 1`,
      place,
    ),
  ]);
  const deadLetter = deadLetters.rows[0] ?? null;
  return {
    deadLetter,
    isParked: parked.rowCount > 0,
    claims: claims.rows,
    events: events.rows,
    repair: repairs.rows[0] ?? null,
  };
}

interface Evidence {
  readonly receipt: Receipt;
  readonly raw: Exclude<RawRecord, { kind: 'never' }>;
  readonly progress: Progress;
  readonly facts: Facts;
}

/** The rule over what was found. */
function judgeReceipt({ receipt, raw, progress, facts }: Evidence): ReceiptReport {
  const headers = raw.kind === 'found' ? raw.record.headers : null;
  const { deadLetter, claims, events, isParked } = facts;
  const receivedAt = headers?.[header.receivedAt] ?? isoOf(deadLetter?.received_at);
  const isOwn = (fact: PositionFact): boolean =>
    fact.epoch === receipt.epoch &&
    fact.partition === receipt.partition &&
    fact.record_offset === receipt.offset;
  const claim = claims.find(isOwn);
  const stored = events.find(isOwn);
  const report = (
    state: ReceiptReport['state'],
    stages: ReceiptReport['stages'],
    more: Partial<ReceiptReport> = {},
  ): ReceiptReport => ({
    receipt_id: formatReceiptId(receipt),
    event_id: headers?.[header.id] ?? null,
    event_type: headers?.[header.type] ?? null,
    state,
    stages: { received: { state: 'done', at: receivedAt }, ...stages },
    position: formatPosition(receipt),
    ...more,
  });
  const waiting: StageReport = { state: 'waiting', at: null };
  const processed: StageReport = { state: 'done', at: isoOf(claim?.at) };
  const repaired = facts.repair === null ? null : judgeRepair(receipt, facts.repair, facts);
  if (repaired !== null) return report(repaired.state, repaired.stages, repaired.more);
  if (deadLetter !== null) {
    const { id, code, stage, state } = deadLetter;
    return report('dead_letter', { processed }, { dead_letter: { id, code, stage, state } });
  }
  if (stored !== undefined)
    return report('stored', { processed, stored: { state: 'done', at: isoOf(stored.at) } });
  if (isParked) return report('in_flight', { processed, stored: { state: 'parked', at: null } });
  // Whatever log has lost its record, a receipt that no table knows cannot be told from one that never was given.
  if (raw.kind === 'gone') throw expiredReceipt(receipt);
  if (receipt.offset > progress.claimedThrough)
    return report('in_flight', { processed: waiting, stored: waiting });
  if (claim !== undefined) {
    const isStored = receipt.offset <= progress.storedThrough;
    return isStored
      ? report('stored', { processed, stored: { state: 'done', at: null } })
      : report('in_flight', { processed, stored: waiting });
  }
  // Judged, and neither claimed nor stored: a duplicate, or a dead letter that its table does not show yet.
  if (progress.deadLettersWaiting) return report('in_flight', { processed });
  const first = claims[0] ?? events[0];
  if (first === undefined) throw expiredReceipt(receipt);
  const { epoch, partition, record_offset: offset } = first;
  const original = formatReceiptId({ tenantId: receipt.tenantId, epoch, partition, offset });
  return report('duplicate', { processed }, { duplicate_of: original });
}

/** A dead letter that one of its further attempts has brought to an end; null while it is still one. */
function judgeRepair(
  receipt: Receipt,
  repair: RepairFact,
  { events, claims }: Facts,
): (Pick<ReceiptReport, 'state' | 'stages'> & { readonly more: Partial<ReceiptReport> }) | null {
  if (repair.outcome === 'dead_letter') return null;
  const { attempt } = repair;
  const processed: StageReport = { state: 'done', at: isoOf(repair.at) };
  const isAttempt = (fact: PositionFact): boolean =>
    fact.epoch === repair.epoch &&
    fact.partition === repair.partition &&
    fact.record_offset === repair.record_offset;
  if (repair.outcome === 'duplicate') {
    const first = [...claims, ...events].find((fact) => !isAttempt(fact));
    const original =
      first === undefined
        ? {}
        : {
            duplicate_of: formatReceiptId({
              tenantId: receipt.tenantId,
              epoch: first.epoch,
              partition: first.partition,
              offset: first.record_offset,
            }),
          };
    return { state: 'duplicate', stages: { processed }, more: { attempt, ...original } };
  }
  const stored = events.find(isAttempt);
  if (repair.is_parked) {
    return {
      state: 'in_flight',
      stages: { processed, stored: { state: 'parked', at: null } },
      more: { attempt },
    };
  }
  const isStored = stored !== undefined || repair.record_offset <= repair.stored_through;
  return {
    state: isStored ? 'stored' : 'in_flight',
    stages: { processed, stored: { state: isStored ? 'done' : 'waiting', at: isoOf(stored?.at) } },
    more: { attempt },
  };
}

function isoOf(at: Date | undefined): string | null {
  return at === undefined ? null : at.toISOString();
}

function expiredReceipt(receipt: Receipt): Error {
  const detail = `The event of ${formatReceiptId(receipt)} was processed, but log, ledger and store no longer hold it.`;
  return storeError('PULSE_STORE_RECEIPT_EXPIRED', detail);
}
