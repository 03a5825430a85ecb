// Step 0: whose record is this, when did it come, and how is it to be read? Only headers and the topic are looked at.
import { header, type Protocol, tenantIdPattern } from '../../core/envelope.ts';
import { type DeadLetter, deadLetter } from '../../core/outcome.ts';
import { type Position, parsePosition } from '../../core/position.ts';
import { parseTime } from '../../core/time.ts';
import type { StoredRecord } from '../../ports/event-log/event-log.ts';
import type { Tenant } from '../../tenancy/types.ts';
import { contentTypeOf, isCloudEventsContentType } from './content-type.ts';

/** Owner of dead letters whose tenant nobody can know; visible to the administrator only. */
export const platformTenantId = '_platform';

/** A receive time that lies this far ahead of the log's own append time is not believed. */
const receivedAheadMsMax = 300_000;
const attemptMax = 1_000_000;

/** What is known of a record before its value is read. */
export interface Subject {
  readonly record: StoredRecord;
  readonly position: Position;
  readonly tenantId: string;
  /** Null for records of nobody (`_platform`). */
  readonly tenant: Tenant | null;
  readonly receivedAtMs: number;
  readonly protocol: Protocol;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** Position of the first attempt; null on the first attempt itself, and only then. */
  readonly origin: Position | null;
}

/** What a topic says about the records in it. */
export interface TopicFacts {
  readonly epoch: number;
  /** The dedicated tenant that owns the topic; null for shared topics. */
  readonly ownerId: string | null;
  readonly tenantOf: (tenantId: string) => Tenant | null;
}

/**
 * Finds tenant, receive time, protocol and attempt of a record.
 * Guarantees: on a shared topic only the `pulse_tenant` header of a known tenant counts. On a dedicated topic the owner is the
 * tenant; a record without the header comes from an outside producer, so none of its `pulse_` headers is believed and the
 * log's append time is its receive time. `unsigned` is returned beside a subject that says whose dead letter it is.
 */
export function identify(
  record: StoredRecord,
  topic: TopicFacts,
): { readonly subject: Subject; readonly unsigned: DeadLetter | null } {
  const position = { epoch: topic.epoch, partition: record.partition, offset: record.offset };
  const signature = record.headers[header.tenant];
  const tenantId = topic.ownerId ?? signature ?? '';
  const tenant = tenantIdPattern.test(tenantId) ? topic.tenantOf(tenantId) : null;
  const isForeign = topic.ownerId !== null && signature !== undefined && signature !== topic.ownerId;
  const isSigned = signature !== undefined && !isForeign && tenant !== null;
  const further = isSigned ? furtherAttemptOf(record.headers) : null;
  const subject: Subject = {
    record,
    position,
    tenantId: tenant === null && topic.ownerId === null ? platformTenantId : tenantId,
    tenant,
    receivedAtMs: isSigned ? receivedAtOf(record) : record.appendTimeMs,
    protocol: protocolOf(record.headers, isSigned),
    attempt: further?.attempt ?? 1,
    origin: further?.origin ?? null,
  };
  return { subject, unsigned: isForeign || tenant === null ? unsigned(topic.ownerId, signature) : null };
}

function unsigned(ownerId: string | null, signature: string | undefined): DeadLetter {
  const message =
    signature === undefined
      ? 'the record carries no pulse_tenant header; on a shared topic only Pulse may write'
      : ownerId === null
        ? 'the pulse_tenant header names no tenant of this Pulse'
        : `the pulse_tenant header names another tenant than ${ownerId}, the owner of this topic`;
  return deadLetter('unsigned', [{ pointer: '', rule: 'signed', message }]);
}

function receivedAtOf(record: StoredRecord): number {
  const received = parseTime(record.headers[header.receivedAt]);
  if (!received.ok || received.timeMs > record.appendTimeMs + receivedAheadMsMax) return record.appendTimeMs;
  return received.timeMs;
}

/** A record that does not name both its attempt and its origin is a first attempt. */
function furtherAttemptOf(
  headers: Readonly<Record<string, string>>,
): { readonly attempt: number; readonly origin: Position } | null {
  const text = headers[header.attempt];
  if (text === undefined || text === '1' || !/^[1-9]\d{0,6}$/.test(text)) return null;
  const origin = parsePosition(headers[header.origin] ?? '');
  return origin === null ? null : { attempt: Math.min(Number(text), attemptMax), origin };
}

function protocolOf(headers: Readonly<Record<string, string>>, isSigned: boolean): Protocol {
  const named = isSigned ? headers[header.protocol] : undefined;
  if (named === 'native' || named === 'cloudevents-binary' || named === 'cloudevents-structured')
    return named;
  if (isCloudEventsContentType(contentTypeOf(headers))) return 'cloudevents-structured';
  return headers['ce_specversion'] === undefined ? 'native' : 'cloudevents-binary';
}
