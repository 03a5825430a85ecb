// Records of the dead-letter topics → rows of the table. Whatever stands in a record, a row comes out: there is no place
// behind dead letters to which one could be rejected.
import { header, tenantIdPattern } from '../../core/envelope.ts';
import { uuidv5 } from '../../core/ids.ts';
import type { Failure } from '../../core/outcome.ts';
import { formatPosition, parsePosition } from '../../core/position.ts';
import { formatTime, parseTime } from '../../core/time.ts';
import type { StoredRecord } from '../../ports/event-log/event-log.ts';
import { platformTenantId } from '../steps/identify.ts';
import { fingerprintOf } from './fingerprint.ts';

/** A row of `dead_letters`, in the names of its columns. */
export interface DeadLetterRow {
  readonly tenant_id: string;
  readonly dead_letter_id: string;
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly stage: string;
  readonly code: string;
  readonly event_id: string | null;
  readonly event_type: string | null;
  readonly failures: readonly Failure[];
  readonly headers: Readonly<Record<string, string>>;
  readonly fingerprint: string;
  readonly attempts: number;
  /** ISO 8601 UTC. */
  readonly received_at: string;
}

const wordPattern = /^[a-z][a-z0-9_-]{0,62}$/;

/**
 * The row of one record. `topicEpoch`: epoch of the dead-letter topic, which places records that name no raw position.
 * Guarantees: the id follows from tenant, position and stage, so a record that is read again gives the same row.
 */
export function toRow(record: StoredRecord, topicEpoch: number): DeadLetterRow {
  const { headers } = record;
  const tenant = headers[header.tenant] ?? '';
  const tenantId = tenantIdPattern.test(tenant) ? tenant : platformTenantId;
  const own = { epoch: topicEpoch, partition: record.partition, offset: record.offset };
  const source = parsePosition(headers[header.sourcePosition] ?? '') ?? own;
  const stage = word(headers[header.deadLetterStage], 'unknown');
  const code = word(headers[header.deadLetterCode], 'unknown');
  const eventType = textOrNull(headers[header.type]);
  const failures = failuresOf(headers[header.deadLetterFailures]);
  const received = parseTime(headers[header.receivedAt]);
  return {
    tenant_id: tenantId,
    dead_letter_id: uuidv5('dead-letter', tenantId, formatPosition(source), stage),
    epoch: source.epoch,
    partition: source.partition,
    record_offset: source.offset,
    stage,
    code,
    event_id: textOrNull(headers[header.id]),
    event_type: eventType,
    failures,
    headers: keptHeaders(headers),
    fingerprint: fingerprintOf({ code, stage, eventType, failures }),
    attempts: attemptsOf(headers[header.attempt]),
    received_at: formatTime(received.ok ? received.timeMs : record.appendTimeMs),
  };
}

/** True for an attempt beyond the first of a dead letter that has a row. */
export function isFurtherAttempt(headers: Readonly<Record<string, string>>): boolean {
  return attemptsOf(headers[header.attempt]) > 1 && parsePosition(headers[header.origin] ?? '') !== null;
}

function word(text: string | undefined, otherwise: string): string {
  return text !== undefined && wordPattern.test(text) ? text : otherwise;
}

function textOrNull(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : clean(text).slice(0, 512);
}

function attemptsOf(text: string | undefined): number {
  return text !== undefined && /^[1-9]\d{0,6}$/.test(text) ? Number(text) : 1;
}

function failuresOf(text: string | undefined): readonly Failure[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text ?? '[]');
  } catch {
    return [{ pointer: '', rule: 'unknown', message: 'the failures of this dead letter cannot be read' }];
  }
  if (!Array.isArray(parsed)) return [];
  return parsed.slice(0, 100).map((failure: unknown) => {
    const { pointer, rule, message } = (failure ?? {}) as Record<string, unknown>;
    return { pointer: clean(pointer ?? ''), rule: clean(rule ?? 'unknown'), message: clean(message ?? '') };
  });
}

/** The record's headers without those that have columns of their own. */
function keptHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (
      name === header.deadLetterFailures ||
      name === header.deadLetterCode ||
      name === header.deadLetterStage
    )
      continue;
    kept[clean(name)] = clean(value);
  }
  return kept;
}

/** Text as jsonb and text columns can hold it. */
function clean(value: unknown): string {
  return String(value).toWellFormed().replaceAll('\0', '\ufffd');
}
