// Step 1: bytes → attributes and the place of the data. Nothing is judged here but whether the bytes can be read at all.
import { isUtf8 } from 'node:buffer';
import { cloudEventsHeaderPrefix, eventBytesMax, jsonDepthMax } from '../../core/envelope.ts';
import { isDeeperThan, objectMembers, type Range, skipSpace } from '../../core/json-scan.ts';
import { type DeadLetter, deadLetter, type Outcome, ok } from '../../core/outcome.ts';
import { contentTypeOf, isJsonContentType } from './content-type.ts';
import type { Subject } from './identify.ts';

/** An event as read, with its bytes kept. */
export interface ParsedEvent {
  /** Names of the attributes: native, or those of CloudEvents (structured and binary alike). */
  readonly dialect: 'native' | 'cloudevents';
  /** Attributes by name, as JSON.parse gives them; for binary CloudEvents the `ce_` headers. No inherited names. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Where each attribute's value lies in `json`; null for binary CloudEvents, whose attributes are headers. */
  readonly members: ReadonlyMap<string, Range> | null;
  /** The JSON text of the record's value; null when the value is no JSON (binary CloudEvents of other media types). */
  readonly json: { readonly bytes: Buffer; readonly text: string; readonly value: unknown } | null;
  /** The record's value when it is no JSON. */
  readonly binary: Buffer | null;
}

const space = /^[\x20\t\n\r]*$/;

/**
 * Reads a record by its protocol.
 * Errors (as values): `unparseable` for values over 1 MiB, not UTF-8, not JSON, nested deeper than 64, or no object
 * where an event must be one.
 */
export function parse(subject: Subject): Outcome<ParsedEvent> {
  const bytes = subject.record.value;
  if (bytes.length > eventBytesMax) {
    return unparseable('size', `the event has ${bytes.length} bytes; at most ${eventBytesMax} are allowed`);
  }
  return subject.protocol === 'cloudevents-binary'
    ? parseBinary(subject, bytes)
    : parseObject(subject, bytes);
}

function parseObject(subject: Subject, bytes: Buffer): Outcome<ParsedEvent> {
  const json = readJson(bytes);
  if (json.kind === 'dead_letter') return json;
  const { value } = json.value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return unparseable('type', 'an event must be a JSON object');
  }
  return ok({
    dialect: subject.protocol === 'native' ? 'native' : 'cloudevents',
    attributes: value as Record<string, unknown>,
    members: objectMembers(bytes, skipSpace(bytes, 0)),
    json: json.value,
    binary: null,
  });
}

function parseBinary(subject: Subject, bytes: Buffer): Outcome<ParsedEvent> {
  const { headers } = subject.record;
  const mediaType = contentTypeOf(headers);
  const attributes: Record<string, unknown> = Object.create(null);
  for (const [name, text] of Object.entries(headers)) {
    if (name.startsWith(cloudEventsHeaderPrefix))
      attributes[name.slice(cloudEventsHeaderPrefix.length)] = text;
  }
  if (mediaType !== '') attributes['datacontenttype'] = headers['content_type'] ?? headers['content-type'];
  const event = { dialect: 'cloudevents', attributes, members: null } as const;
  if (bytes.length === 0) return ok({ ...event, json: null, binary: null });
  if (mediaType !== '' && !isJsonContentType(mediaType)) return ok({ ...event, json: null, binary: bytes });
  const json = readJson(bytes);
  if (json.kind === 'ok') return ok({ ...event, json: json.value, binary: null });
  // Without a media type nobody promised JSON: such bytes are kept as they are.
  return mediaType === '' ? ok({ ...event, json: null, binary: bytes }) : json;
}

type Json = NonNullable<ParsedEvent['json']>;

function readJson(bytes: Buffer): Outcome<Json> {
  if (!isUtf8(bytes)) return unparseable('utf8', 'the bytes are not UTF-8');
  // Before parsing: what is nested too deep must not reach a recursive serializer anywhere.
  if (isDeeperThan(bytes, jsonDepthMax)) {
    return unparseable('depth', `arrays and objects nest deeper than ${jsonDepthMax}`);
  }
  const text = bytes.toString('utf8');
  try {
    return ok({ bytes, text, value: JSON.parse(text) });
  } catch (error) {
    const message = space.test(text)
      ? 'the value is empty'
      : `the value is no JSON: ${(error as Error).message}`;
    return unparseable('json', message.slice(0, 200));
  }
}

function unparseable(rule: string, message: string): DeadLetter {
  return deadLetter('unparseable', [{ pointer: '', rule, message }]);
}
