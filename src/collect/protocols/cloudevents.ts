// CloudEvents 1.0 over HTTP: structured and batch (JSON), and binary (attributes in ce- headers, data as the body).
// Source: CloudEvents HTTP protocol binding 1.0.2 §3.
import type { IncomingHttpHeaders } from 'node:http';
import { attributeCharsMax, cloudEventsHeaderPrefix, contentTypeHeader } from '../../core/envelope.ts';
import { isDeeperThan } from '../../core/json-scan.ts';
import { collectError } from '../errors.ts';
import { bare, splitJson } from './native.ts';
import {
  asAttribute,
  type IncomingEvent,
  own,
  parseJson,
  type SplitBody,
  type SplitLimits,
  tooDeep,
  tooLarge,
} from './split.ts';

/** Attributes that have a record header of their own; all others keep their name behind `ce_`. */
const namedAttributes = new Set(['id', 'type', 'source', 'time', 'subject']);
/** A record may have 64 headers; these and those of Pulse stay well below. */
const extensionsMax = 32;

/**
 * Splits a structured or batch body; an array is a batch under either media type.
 * Errors: as for native JSON.
 */
export function splitCloudEventsJson(body: Buffer, limits: SplitLimits): SplitBody {
  return splitJson(body, 'array', limits, 'cloudevents-structured', readCloudEvent);
}

function readCloudEvent(index: number, value: Buffer, parsed: unknown): IncomingEvent {
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return bare(index, value);
  return {
    index,
    value,
    id: asAttribute(own(parsed, 'id')),
    type: asAttribute(own(parsed, 'type')),
    source: asAttribute(own(parsed, 'source')),
    time: asAttribute(own(parsed, 'time')),
    subject: asAttribute(own(parsed, 'subject')),
  };
}

/** True when the headers carry a binary CloudEvent. */
export function isCloudEventsBinary(headers: IncomingHttpHeaders): boolean {
  return (
    headers['ce-specversion'] !== undefined ||
    headers['ce-id'] !== undefined ||
    headers['ce-type'] !== undefined
  );
}

/**
 * The one event of a binary request. The body is its data, of any content type, and may be empty; data that calls itself
 * JSON must be JSON.
 * Errors: PULSE_COLLECT_ATTRIBUTE_INVALID, since attributes in headers have no other place where `process` could judge
 * them; PULSE_COLLECT_EVENT_TOO_LARGE, and for JSON data PULSE_COLLECT_NOT_UTF8, _NOT_JSON, _TOO_DEEP.
 */
export function splitCloudEventsBinary(
  body: Buffer,
  headers: IncomingHttpHeaders,
  contentType: string,
  limits: SplitLimits,
): SplitBody {
  if (body.length > limits.eventBytesMax) throw tooLarge(0, body.length, limits.eventBytesMax);
  if (body.length > 0 && isJsonType(contentType)) {
    if (isDeeperThan(body, limits.depthMax)) throw tooDeep(0, limits.depthMax);
    parseJson(body);
  }
  const attributes = new Map<string, string>();
  const others: Record<string, string> = {};
  for (const name of Object.keys(headers)) {
    if (!name.startsWith('ce-')) continue;
    const attribute = name.slice(3);
    const value = attributeValue(name, attribute, headers[name]);
    if (namedAttributes.has(attribute)) attributes.set(attribute, value);
    else others[cloudEventsHeaderPrefix + attribute] = value;
  }
  if (Object.keys(others).length > extensionsMax) {
    throw collectError('PULSE_COLLECT_ATTRIBUTE_INVALID', `An event may have ${extensionsMax} extensions.`);
  }
  if (headers['content-type'] !== undefined)
    others[contentTypeHeader] = headers['content-type'].slice(0, 256);
  const get = (name: string): string | null => attributes.get(name) ?? null;
  const event: IncomingEvent = {
    index: 0,
    value: body,
    id: get('id'),
    type: get('type'),
    source: get('source'),
    time: get('time'),
    subject: get('subject'),
  };
  return { protocol: 'cloudevents-binary', events: [event], errors: [], headers: others };
}

function attributeValue(header: string, attribute: string, raw: string | string[] | undefined): string {
  if (!/^[a-z0-9]{1,64}$/.test(attribute)) {
    throw collectError('PULSE_COLLECT_ATTRIBUTE_INVALID', `'${header}' names no attribute: [a-z0-9] only.`);
  }
  const value = asAttribute(decodeHeaderValue(String(raw)));
  if (value === null) {
    const allowed = `1 to ${attributeCharsMax} characters of UTF-8, percent-encoded, without control characters`;
    throw collectError('PULSE_COLLECT_ATTRIBUTE_INVALID', `The value of '${header}' is not ${allowed}.`);
  }
  return value;
}

/**
 * An attribute's value from a header: quotes removed, then percent-decoded once, then read as UTF-8. A percent sign that
 * starts no escape stays: the public SDKs send values as they are. Null when the bytes are not UTF-8.
 * Source: CloudEvents HTTP protocol binding 1.0.2 §3.1.3.2.
 */
export function decodeHeaderValue(raw: string): string | null {
  const text = raw.length >= 2 && raw.startsWith('"') && raw.endsWith('"') ? unquoted(raw) : raw;
  if (!/[%\x80-\xff]/.test(text)) return text;
  // Node gives header bytes as Latin-1, so a value sent as plain UTF-8 is put together again here as well.
  const latin = text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(latin, 'latin1'));
  } catch {
    return null;
  }
}

function unquoted(raw: string): string {
  return raw.slice(1, -1).replace(/\\(.)/g, '$1');
}

/** True for application/json, text/json and every type that ends in +json; `contentType` is lower case, without parameters. */
function isJsonType(contentType: string): boolean {
  return contentType === 'application/json' || contentType === 'text/json' || contentType.endsWith('+json');
}
