// Step: log records of the events of one request. Headers say what collect knows; the value stays the event's own bytes.
import type { BlockList } from 'node:net';
import type { header } from '../../core/envelope.ts';
import { uuidv5, uuidv7 } from '../../core/ids.ts';
import { type LogRecord, partitionFor } from '../../ports/event-log/event-log.ts';
import type { Tenant } from '../../tenancy/types.ts';
import { clientAddress, keptAddress } from '../client-address.ts';
import type { Exchange } from '../exchange.ts';
import type { SplitBody } from '../protocols/split.ts';

const userAgentCharsMax = 256;

/** The key of a request and the fingerprint of its payload. */
interface KeyedRequest {
  readonly key: string;
  readonly hash: string;
}

/** Event ids in the order of the events: own ones; ids derived from the Idempotency-Key; else new ones. */
export function eventIds(split: SplitBody, tenantId: string, key: string | null, nowMs: number): string[] {
  const { events } = split;
  const ids: string[] = new Array(events.length);
  for (let i = 0; i < events.length; i++) {
    const event = events[i]!;
    ids[i] = event.id ?? (key === null ? uuidv7(nowMs) : uuidv5(tenantId, key, String(event.index)));
  }
  return ids;
}

interface RecordContext {
  readonly exchange: Exchange;
  readonly tenant: Tenant;
  readonly keyed: KeyedRequest | null;
  readonly nowMs: number;
  readonly proxies: BlockList | null;
  readonly partitions: number;
}

/**
 * The records of a request.
 * Shape: one for each event, same order. The partition follows from the event id, so a repeated event meets its first
 * copy in the same partition.
 */
export function buildRecords(split: SplitBody, ids: readonly string[], context: RecordContext): LogRecord[] {
  const sharedHeaders = requestHeaders(split, context);
  const { events } = split;
  const records: LogRecord[] = new Array(events.length);
  for (let i = 0; i < events.length; i++) {
    const event = events[i]!;
    const id = ids[i]!;
    const headers: RecordHeaders = { ce_id: id };
    if (event.type !== null) headers.ce_type = event.type;
    if (event.source !== null) headers.ce_source = event.source;
    if (event.time !== null) headers.ce_time = event.time;
    if (event.subject !== null) headers.ce_subject = event.subject;
    if (context.keyed !== null) headers.pulse_request_index = `${i}/${events.length}`;
    const partition = partitionFor(id, context.partitions);
    records[i] =
      events.length === 1
        ? { partition, key: id, headers: Object.assign(headers, sharedHeaders), value: event.value }
        : { partition, key: id, headers, sharedHeaders, value: event.value };
  }
  return records;
}

type HeaderName = (typeof header)[keyof typeof header];

/**
 * Record headers under their own names. Written as literals, checked by the compiler against core/envelope.ts: with
 * computed names V8 builds the object property by property, in twice the time and memory.
 */
type RecordHeaders = Record<string, string> & { [Name in HeaderName]?: string };

/** The headers that all events of a request share; encoded once for all of them when there are several. */
function requestHeaders(split: SplitBody, context: RecordContext): RecordHeaders {
  const { exchange, tenant, keyed } = context;
  const { headers } = exchange;
  const shared: RecordHeaders = {
    pulse_tenant: tenant.tenantId,
    pulse_received_at: isoTime(context.nowMs),
    pulse_protocol: split.protocol,
    pulse_attempt: '1',
    pulse_request_id: exchange.requestId,
  };
  const userAgent = headers['user-agent'];
  if (userAgent !== undefined && userAgent !== '') {
    shared.pulse_user_agent = userAgent.slice(0, userAgentCharsMax);
  }
  const policy = tenant.clientAddressPolicy;
  const address = policy === 'drop' ? null : clientAddress(exchange.request, context.proxies);
  const kept = keptAddress(address, policy);
  if (kept !== null) shared.pulse_client_address = kept;
  const traceparent = headers['traceparent'];
  if (typeof traceparent === 'string' && isTraceparent(traceparent)) shared.traceparent = traceparent;
  if (keyed !== null) {
    shared.pulse_idempotency_key = keyed.key;
    shared.pulse_request_hash = keyed.hash;
  }
  return split.headers === null ? shared : { ...split.headers, ...shared };
}

// Thousands of requests share a millisecond, and formatting a date costs as much as parsing a small event.
let isoMs = -1;
let isoText = '';

function isoTime(nowMs: number): string {
  if (nowMs !== isoMs) {
    isoMs = nowMs;
    isoText = new Date(nowMs).toISOString();
  }
  return isoText;
}

/**
 * True for a valid W3C traceparent: `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not all zero. Higher versions may be
 * longer; their first four fields are the same.
 * Source: W3C Trace Context §3.2.
 */
export function isTraceparent(text: string): boolean {
  if (text.length < 55 || text.length > 128) return false;
  const isVersion0 = text.startsWith('00');
  if (isVersion0 ? text.length !== 55 : text.length > 55 && text[55] !== '-') return false;
  if (text.startsWith('ff')) return false;
  return (
    text[2] === '-' &&
    text[35] === '-' &&
    text[52] === '-' &&
    isHex(text, 0, 2) &&
    isHex(text, 3, 35) &&
    isHex(text, 36, 52) &&
    isHex(text, 53, 55) &&
    !isZero(text, 3, 35) &&
    !isZero(text, 36, 52)
  );
}

function isHex(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i);
    if (!((code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66))) return false;
  }
  return true;
}

function isZero(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (text.charCodeAt(i) !== 0x30) return false;
  return true;
}
