// Step: which protocol a request speaks, and its body taken apart accordingly.
import { eventBytesMax, jsonDepthMax } from '../../core/envelope.ts';
import { collectError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import {
  isCloudEventsBinary,
  splitCloudEventsBinary,
  splitCloudEventsJson,
} from '../protocols/cloudevents.ts';
import { splitNative } from '../protocols/native.ts';
import { splitNdjson } from '../protocols/ndjson.ts';
import type { SplitBody, SplitLimits } from '../protocols/split.ts';

/** How the body of a request is to be read. */
export type BodyKind = 'json' | 'ndjson' | 'structured' | 'binary';

const ndjsonTypes = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/x-jsonl',
  'application/jsonlines',
  'application/x-jsonlines',
  'application/json-lines',
  'application/x-json-lines',
]);

/**
 * The kind of a body, by its headers. Content types that mean nothing special are ignored: real clients send JSON as
 * text/plain and as form data.
 * Errors: PULSE_COLLECT_MEDIA_TYPE_UNSUPPORTED for CloudEvents in a format other than JSON, and for anything but one
 * native event at /events.
 */
export function bodyKind(exchange: Exchange): BodyKind {
  const type = mediaType(exchange.headers['content-type']);
  let kind: BodyKind = 'json';
  if (type === 'application/json' || type === '') kind = 'json';
  else if (ndjsonTypes.has(type)) kind = 'ndjson';
  else if (type === 'application/cloudevents+json' || type === 'application/cloudevents-batch+json') {
    kind = 'structured';
  } else if (type.startsWith('application/cloudevents')) throw unsupported(type);
  if (kind === 'json' && isCloudEventsBinary(exchange.headers)) kind = 'binary';
  if (exchange.path === '/events' && kind !== 'json')
    throw unsupported(kind === 'binary' ? 'ce- headers' : type);
  return kind;
}

function unsupported(type: string): Error {
  return collectError(
    'PULSE_COLLECT_MEDIA_TYPE_UNSUPPORTED',
    `This path does not take ${type.slice(0, 100)}.`,
  );
}

/** The media type in lower case without parameters; '' when there is none. */
function mediaType(contentType: string | undefined): string {
  if (contentType === undefined || contentType === 'application/json') return contentType ?? '';
  const end = contentType.indexOf(';');
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

/**
 * Takes a body apart.
 * Errors: PULSE_COLLECT_BODY_EMPTY (only a binary CloudEvent may have no data), those of the protocols, and
 * PULSE_COLLECT_NOTHING_ACCEPTED (422, with `errors`) when every line of NDJSON was refused.
 */
export function splitBody(exchange: Exchange, kind: BodyKind, body: Buffer, eventsMax: number): SplitBody {
  const limits: SplitLimits = { eventsMax, eventBytesMax, depthMax: jsonDepthMax };
  if (kind === 'binary') {
    const type = mediaType(exchange.headers['content-type']);
    return splitCloudEventsBinary(body, exchange.headers, type, limits);
  }
  if (body.length === 0) throw collectError('PULSE_COLLECT_BODY_EMPTY', 'The request has no body.');
  if (kind === 'structured') return splitCloudEventsJson(body, limits);
  if (kind === 'json') {
    return splitNative(body, exchange.path === '/events' ? 'one' : 'array-or-object', limits);
  }
  const split = splitNdjson(body, limits);
  if (split.events.length > 0) return split;
  throw collectError('PULSE_COLLECT_NOTHING_ACCEPTED', `All ${split.errors.length} lines were refused.`, {
    details: { accepted: 0, rejected: split.errors.length, errors: split.errors },
  });
}
