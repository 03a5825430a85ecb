// Last step: judged records → records of events.valid and events.dlq. Pure; appending is the loop's work.
import { contentTypeHeader, header } from '../../core/envelope.ts';
import type { DeadLetterCode, Failure } from '../../core/outcome.ts';
import { formatPosition, type Position } from '../../core/position.ts';
import { formatTime } from '../../core/time.ts';
import type { LogRecord } from '../../ports/event-log/event-log.ts';
import type { JudgedDeadLetter, JudgedEvent } from './judge.ts';

/** The stage that dead letters of this room name. */
export const processStage = 'process';

// Limits of the EventLog port, with room to spare: a record that breaks them could never be appended.
const headersMax = 60;
const headerBytesMax = 60 * 1024;
const failureBytesMax = 16 * 1024;

/**
 * The record of a valid event: the canonical envelope with `data` spliced in as its original bytes.
 * `previous` is the position of the record emitted before it into the same partition; null on the first.
 * Guarantees: goes to the partition that it came from; data and extensions keep every byte.
 */
export function toValidRecord(event: JudgedEvent, previous: Position | null): LogRecord {
  const { subject, envelope } = event;
  const own: Record<string, string> = {
    [header.id]: event.eventId,
    [header.type]: event.eventType,
    [header.time]: formatTime(event.eventTimeMs),
    [header.tenant]: subject.tenantId,
    [header.receivedAt]: formatTime(subject.receivedAtMs),
    [header.protocol]: subject.protocol,
    [header.attempt]: String(subject.attempt),
    [header.sourcePosition]: formatPosition(subject.position),
    [contentTypeHeader]: 'application/json',
  };
  if (envelope.source !== null) own[header.source] = envelope.source;
  if (envelope.subject !== null) own[header.subject] = envelope.subject;
  if (previous !== null) own[header.previousPosition] = formatPosition(previous);
  const { record } = subject;
  return {
    partition: record.partition,
    key: record.key,
    headers: withRoom(own, record.headers),
    value: event.value,
  };
}

/**
 * The record of a dead letter: the raw record's own bytes and headers, beside them code, stage, position and failures.
 * Guarantees: never breaks the limits of the log: headers that Pulse does not need give way first.
 */
export function toDeadLetterRecord(letter: JudgedDeadLetter, partitions: number): LogRecord {
  const { subject, deadLetter } = letter;
  const { record } = subject;
  const own: Record<string, string> = {
    [header.tenant]: subject.tenantId,
    [header.receivedAt]: formatTime(subject.receivedAtMs),
    [header.protocol]: subject.protocol,
    [header.attempt]: String(subject.attempt),
    [header.sourcePosition]: formatPosition(subject.position),
    [header.deadLetterCode]: deadLetter.code satisfies DeadLetterCode,
    [header.deadLetterStage]: processStage,
    [header.deadLetterFailures]: failuresText(deadLetter.failures),
  };
  if (letter.eventId !== null) own[header.id] = letter.eventId;
  if (letter.eventType !== null) own[header.type] = letter.eventType;
  return {
    partition: record.partition % partitions,
    key: record.key,
    headers: withRoom(own, record.headers),
    value: record.value,
  };
}

/** As many failures as fit; at least one. */
function failuresText(failures: readonly Failure[]): string {
  let kept = failures;
  let text = JSON.stringify(kept);
  while (kept.length > 1 && Buffer.byteLength(text) > failureBytesMax) {
    kept = kept.slice(0, Math.ceil(kept.length / 2));
    text = JSON.stringify(kept);
  }
  return text;
}

/** Our own headers first, then as many of the record's others as the log takes. */
function withRoom(
  own: Record<string, string>,
  others: Readonly<Record<string, string>>,
): Record<string, string> {
  let count = 0;
  let bytes = 0;
  for (const name in own) {
    count++;
    bytes += sizeOf(name, own[name] as string);
  }
  for (const name in others) {
    if (own[name] !== undefined || isOutputOnly(name)) continue;
    const text = others[name] as string;
    bytes += sizeOf(name, text);
    count++;
    if (count > headersMax || bytes > headerBytesMax) return own;
    own[name] = text;
  }
  return own;
}

/** Bytes that a header takes, or more: short texts are not worth counting. */
function sizeOf(name: string, text: string): number {
  return name.length + 8 + (text.length < 128 ? text.length * 3 : Buffer.byteLength(text));
}

const outputOnly = new Set<string>([
  header.sourcePosition,
  header.previousPosition,
  header.deadLetterCode,
  header.deadLetterStage,
  header.deadLetterFailures,
]);

/** Headers that only process writes; on a raw record they are somebody else's. */
function isOutputOnly(name: string): boolean {
  return outputOnly.has(name);
}
