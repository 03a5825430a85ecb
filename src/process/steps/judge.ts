// All steps of one record, in the order that is the specification of `process`:
// identify → parse → check-envelope → check-time → check-storable → enrich. The claim and the routing follow per batch.

import { header } from '../../core/envelope.ts';
import { uuidv5 } from '../../core/ids.ts';
import { type DeadLetter, deadLetter, type Failure } from '../../core/outcome.ts';
import { formatPosition } from '../../core/position.ts';
import type { StoredRecord } from '../../ports/event-log/event-log.ts';
import { type CheckedEnvelope, checkEnvelope } from './check-envelope.ts';
import { checkStorable, isUnstorableText } from './check-storable.ts';
import { checkTime } from './check-time.ts';
import { composeValue } from './compose.ts';
import { enrich } from './enrich.ts';
import { identify, type Subject, type TopicFacts } from './identify.ts';
import { type ParsedEvent, parse } from './parse.ts';

/** An event that passed every check and may claim its id. */
export interface JudgedEvent {
  readonly kind: 'event';
  readonly subject: Subject;
  readonly eventId: string;
  readonly eventType: string;
  readonly eventTimeMs: number;
  readonly envelope: CheckedEnvelope;
  /** The canonical envelope as JSON bytes: the value of the record in events.valid. */
  readonly value: Buffer;
}

/** A record that failed a check; what is known of the event helps to find it again. */
export interface JudgedDeadLetter {
  readonly kind: 'dead_letter';
  readonly subject: Subject;
  readonly deadLetter: DeadLetter;
  readonly eventId: string | null;
  readonly eventType: string | null;
}

export type Judged = JudgedEvent | JudgedDeadLetter;

/** Most failures that a dead letter keeps; more would tell nobody more. */
const failuresMax = 100;
/** The log takes 2 MiB. Only base64 data or the tenant's own lookups make an event of 1 MiB that large. */
const valueBytesMax = 2 * 1_048_576 - 1024;

/**
 * Judges one record.
 * Guarantees: the same record gives the same answer at any time, as long as the tenant's settings stay. Never throws: whatever
 * a step throws makes the record a dead letter `processing_failed`, so that one record cannot stop its partition.
 */
export function judge(record: StoredRecord, topic: TopicFacts): Judged {
  const { subject, unsigned } = identify(record, topic);
  try {
    return unsigned === null ? judgeSigned(subject) : rejected(subject, unsigned, null);
  } catch (error) {
    const message = `a step threw ${String(error)}`.slice(0, 500);
    const failure = { pointer: '', rule: 'internal', message };
    return rejected(subject, deadLetter('processing_failed', [failure]), null);
  }
}

function judgeSigned(subject: Subject): Judged {
  const parsed = parse(subject);
  if (parsed.kind === 'dead_letter') return rejected(subject, parsed, null);
  const event = parsed.value;
  const envelope = checkEnvelope(event);
  const time = checkTime(envelope.time, subject.receivedAtMs);
  const unstorable = [...(event.json === null ? [] : checkStorable(event.json)), ...checkTexts(event)];
  if (envelope.failures.length > 0 || !time.ok || unstorable.length > 0) {
    const timeFailures = time.ok ? [] : [time.failure];
    // The first step that failed names the code; what later steps found is kept beside it.
    const code =
      envelope.failures.length > 0 ? 'invalid_envelope' : time.ok ? 'unstorable_value' : 'invalid_time';
    const failures = [...envelope.failures, ...timeFailures, ...unstorable].slice(0, failuresMax);
    return rejected(subject, deadLetter(code, failures), envelope);
  }
  const known = {
    subject,
    eventId: eventIdOf(subject, envelope),
    eventType: envelope.eventType as string,
    eventTimeMs: time.eventTimeMs,
    envelope,
  };
  // Built before the claim: whatever fails from here on could no longer become a dead letter.
  const value = composeValue({ ...known, enrichment: enrich(subject, event, envelope, time.eventTimeMs) });
  if (value.length <= valueBytesMax) return { kind: 'event', ...known, value };
  const message = `the event has ${value.length} bytes with its enrichment; at most ${valueBytesMax} are allowed`;
  return rejected(subject, deadLetter('unparseable', [{ pointer: '', rule: 'size', message }]), envelope);
}

/** Attributes of binary CloudEvents come from headers, which JSON's own rules have not seen. */
function checkTexts(event: ParsedEvent): readonly Failure[] {
  if (event.members !== null) return [];
  const texts = Object.entries(event.attributes).filter(([name, text]) =>
    isUnstorableText(`${name}${String(text)}`),
  );
  return texts.map(([name]) => ({
    pointer: `/${name}`,
    rule: 'unicode',
    message: `the attribute ${JSON.stringify(name)} holds U+0000 or a lone surrogate`,
  }));
}

/**
 * The event's own id, else the one that collect gave it, else one derived from its position: an outside producer's record
 * must get the same id each time it is read.
 */
function eventIdOf(subject: Subject, envelope: CheckedEnvelope): string {
  if (envelope.eventId !== null) return envelope.eventId;
  const { headers } = subject.record;
  const given = headers[header.tenant] === subject.tenantId ? headers[header.id] : undefined;
  const isUsable = given !== undefined && given.length > 0 && given.length <= 512 && !isUnstorableText(given);
  return isUsable ? given : uuidv5(formatPosition(subject.position));
}

function rejected(subject: Subject, letter: DeadLetter, envelope: CheckedEnvelope | null): JudgedDeadLetter {
  const { headers } = subject.record;
  return {
    kind: 'dead_letter',
    subject,
    deadLetter: letter,
    eventId: usable(envelope?.eventId ?? headers[header.id]),
    eventType: usable(envelope?.eventType ?? headers[header.type]),
  };
}

function usable(text: string | undefined): string | null {
  return text === undefined || text === '' || text.length > 512 || isUnstorableText(text) ? null : text;
}
