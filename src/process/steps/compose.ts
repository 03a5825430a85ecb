// Writes the canonical envelope: the value of every record in events.valid.
import { header } from '../../core/envelope.ts';
import { formatTime } from '../../core/time.ts';
import type { CheckedEnvelope } from './check-envelope.ts';
import type { Enrichment } from './enrich.ts';
import type { Subject } from './identify.ts';

/** Everything that the envelope is made of. */
export interface ComposableEvent {
  readonly subject: Subject;
  readonly eventId: string;
  readonly eventType: string;
  readonly eventTimeMs: number;
  readonly envelope: CheckedEnvelope;
  readonly enrichment: Enrichment;
}

/**
 * The canonical envelope as JSON bytes, members in the order of `Envelope`.
 * Guarantees: `data` and extensions keep every byte of the original.
 */
export function composeValue(event: ComposableEvent): Buffer {
  const { subject, envelope, enrichment } = event;
  const { headers } = subject.record;
  // Written member by member: building an object first and then stringifying it costs twice as much.
  const head =
    `{"event_id":${JSON.stringify(event.eventId)},"tenant_id":"${subject.tenantId}"` +
    `,"event_type":${JSON.stringify(event.eventType)},"event_time":"${formatTime(event.eventTimeMs)}"` +
    `,"received_at":"${formatTime(subject.receivedAtMs)}","schema_version":${jsonText(envelope.schemaVersion)}` +
    `,"subject":${jsonText(envelope.subject)},"source":${jsonText(envelope.source)}` +
    `,"idempotency_key":${jsonHeader(headers[header.idempotencyKey])}` +
    `,"request_id":${jsonHeader(headers[header.requestId])},"protocol":"${subject.protocol}"` +
    `,"attempt":${subject.attempt},"trace_id":${jsonText(enrichment.traceId)}` +
    `,"enrichment":${enrichment.json},"data":`;
  const headBytes = Buffer.byteLength(head);
  const value = Buffer.allocUnsafe(headBytes + envelope.data.length + 1);
  value.write(head, 0, headBytes, 'utf8');
  envelope.data.copy(value, headBytes);
  value[value.length - 1] = 0x7d;
  return value;
}

function jsonText(text: string | null): string {
  return text === null ? 'null' : JSON.stringify(text);
}

/** Header text may hold what jsonb refuses; ids of requests are no place to fail an event for that. */
function jsonHeader(text: string | undefined): string {
  return text === undefined ? 'null' : JSON.stringify(text.toWellFormed().replaceAll('\0', '\ufffd'));
}
