// Step 2: does the event keep the envelope? Every failure is found, not only the first.
// Which attribute plays which part, and where the data lies, is decided here and nowhere else.
import { attributeCharsMax } from '../../core/envelope.ts';
import type { Failure } from '../../core/outcome.ts';
import type { ParsedEvent } from './parse.ts';

/** The envelope of an event. Attributes that failed their check are null; `failures` says so. */
export interface CheckedEnvelope {
  readonly failures: readonly Failure[];
  /** Null when the event names none. */
  readonly eventId: string | null;
  readonly eventType: string | null;
  /** The event's own time, unread, and where it stands; null when the event names none. */
  readonly time: { readonly pointer: string; readonly value: unknown } | null;
  readonly schemaVersion: string | null;
  readonly subject: string | null;
  readonly source: string | null;
  /**
   * What makes the event id unique beside the tenant: '' for native events, whose id stands alone, and the source for
   * CloudEvents, whose id is unique only within its source (CloudEvents 1.0 §3.1.1).
   */
  readonly identitySource: string;
  /** Original bytes of the data as one JSON value. */
  readonly data: Buffer;
  /** Attributes that the envelope has no place for, as JSON members without braces, values as their original bytes. */
  readonly extensions: string;
}

interface Dialect {
  readonly id: string;
  readonly type: string;
  readonly times: readonly string[];
  readonly schemaVersion: string;
  readonly data: readonly string[];
}

const dialects: Readonly<Record<ParsedEvent['dialect'], Dialect>> = {
  native: {
    id: 'event_id',
    type: 'event_type',
    times: ['event_time', 'timestamp'],
    schemaVersion: 'schema_version',
    data: ['data', 'payload', 'properties'],
  },
  cloudevents: {
    id: 'id',
    type: 'type',
    times: ['time'],
    schemaVersion: 'dataschema',
    data: ['data', 'data_base64'],
  },
};

const nullBytes = Buffer.from('null');

/**
 * Checks an event against the envelope.
 * Guarantees: null counts as absent. Of several names for one thing (`data`, `payload`, `properties`; `event_time`, `timestamp`)
 * the first present one counts; whatever the envelope does not use is kept as an extension, so nothing is lost.
 * Native data must be an object. CloudEvents data may be any JSON, or absent, which reads as null; bytes that are no JSON read as
 * `{"data_base64": "…"}`.
 */
export function checkEnvelope(event: ParsedEvent): CheckedEnvelope {
  const dialect = dialects[event.dialect];
  const isCloudEvent = event.dialect === 'cloudevents';
  const failures: Failure[] = [];
  const used = new Set<string>([dialect.id, dialect.type, dialect.schemaVersion, 'subject', 'source']);
  const text = (name: string, required: boolean, charsMin: number): string | null =>
    checkText(event, name, required, charsMin, failures);

  const eventId = text(dialect.id, isCloudEvent, 1);
  const eventType = text(dialect.type, true, 1);
  const source = text('source', isCloudEvent, isCloudEvent ? 1 : 0);
  if (isCloudEvent) {
    used.add('specversion');
    checkSpecVersion(event, failures);
  }
  const timeName = dialect.times.find((name) => isPresent(event, name));
  if (timeName !== undefined) used.add(timeName);
  const schemaVersion = text(dialect.schemaVersion, false, 0);
  const subject = text('subject', false, 0);
  const data = isCloudEvent
    ? cloudEventData(event, used, failures)
    : nativeData(event, dialect, used, failures);
  return {
    failures,
    eventId,
    eventType,
    time: timeName === undefined ? null : { pointer: `/${timeName}`, value: event.attributes[timeName] },
    schemaVersion,
    subject,
    source,
    identitySource: isCloudEvent ? (source ?? '') : '',
    data,
    extensions: extensionsOf(event, used),
  };
}

function isPresent(event: ParsedEvent, name: string): boolean {
  const value = event.attributes[name];
  return value !== undefined && value !== null;
}

function checkText(
  event: ParsedEvent,
  name: string,
  required: boolean,
  charsMin: number,
  failures: Failure[],
): string | null {
  const pointer = `/${name}`;
  if (!isPresent(event, name)) {
    if (required) failures.push({ pointer, rule: 'required', message: `${name} is missing` });
    return null;
  }
  const value = event.attributes[name];
  if (typeof value !== 'string') {
    failures.push({ pointer, rule: 'type', message: `${name} must be a string, not ${kindOf(value)}` });
    return null;
  }
  if (value.length < charsMin || value.length > attributeCharsMax) {
    const message = `${name} has ${value.length} characters; ${charsMin} to ${attributeCharsMax} are allowed`;
    failures.push({ pointer, rule: 'length', message });
    return null;
  }
  return value;
}

/** Structured events must say that they are CloudEvents 1.x; for binary ones the protocol header has said so. */
function checkSpecVersion(event: ParsedEvent, failures: Failure[]): void {
  const version = event.attributes['specversion'];
  if (version === undefined && event.members === null) return;
  if (typeof version === 'string' && /^1\.\d{1,3}$/.test(version)) return;
  const rule = version === undefined ? 'required' : 'enum';
  failures.push({ pointer: '/specversion', rule, message: 'specversion must be "1.0"' });
}

function nativeData(event: ParsedEvent, dialect: Dialect, used: Set<string>, failures: Failure[]): Buffer {
  const name = dialect.data.find((candidate) => isPresent(event, candidate));
  if (name === undefined) {
    const message = 'data is missing (payload or properties would do as well)';
    failures.push({ pointer: '/data', rule: 'required', message });
    return nullBytes;
  }
  used.add(name);
  const value = event.attributes[name];
  if (typeof value !== 'object' || Array.isArray(value)) {
    failures.push({
      pointer: `/${name}`,
      rule: 'type',
      message: `${name} must be an object, not ${kindOf(value)}`,
    });
  }
  return bytesOf(event, name);
}

function cloudEventData(event: ParsedEvent, used: Set<string>, failures: Failure[]): Buffer {
  if (event.members === null) return binaryData(event);
  used.add('data').add('data_base64');
  if (!isPresent(event, 'data_base64')) return event.members.has('data') ? bytesOf(event, 'data') : nullBytes;
  if (isPresent(event, 'data')) {
    const message = 'data and data_base64 are both present; CloudEvents allows one of them';
    failures.push({ pointer: '/data_base64', rule: 'exclusive', message });
  }
  if (typeof event.attributes['data_base64'] !== 'string') {
    failures.push({ pointer: '/data_base64', rule: 'type', message: 'data_base64 must be a string' });
  }
  return Buffer.concat([Buffer.from('{"data_base64":'), bytesOf(event, 'data_base64'), Buffer.from('}')]);
}

function binaryData(event: ParsedEvent): Buffer {
  if (event.binary !== null) return Buffer.from(`{"data_base64":"${event.binary.toString('base64')}"}`);
  return event.json === null ? nullBytes : event.json.bytes;
}

function bytesOf(event: ParsedEvent, name: string): Buffer {
  const range = event.members?.get(name);
  if (range === undefined || event.json === null) throw new Error(`attribute ${name} has no bytes`);
  return event.json.bytes.subarray(range.start, range.end);
}

function extensionsOf(event: ParsedEvent, used: ReadonlySet<string>): string {
  let members = '';
  const add = (name: string, json: string): void => {
    members += `${members === '' ? '' : ','}${JSON.stringify(name)}:${json}`;
  };
  if (event.members === null) {
    for (const [name, value] of Object.entries(event.attributes)) {
      if (!used.has(name)) add(name, JSON.stringify(value));
    }
    return members;
  }
  for (const name of event.members.keys()) {
    if (!used.has(name)) add(name, bytesOf(event, name).toString('utf8'));
  }
  return members;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
