// Step 5: what Pulse knows beyond the event: delay, user agent, client address, trace, the tenant's lookups.
import { truncateAddress } from '../../core/client-address.ts';
import { header } from '../../core/envelope.ts';
import type { Lookup } from '../../tenancy/types.ts';
import type { CheckedEnvelope } from './check-envelope.ts';
import type { Subject } from './identify.ts';
import type { ParsedEvent } from './parse.ts';

/** What `enrich` adds. */
export interface Enrichment {
  /** 32 hex digits of the W3C trace context; null when the record carries none. */
  readonly traceId: string | null;
  /** The envelope's `enrichment` as JSON text; extensions are spliced in as their original bytes. */
  readonly json: string;
}

const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;
const noTrace = '0'.repeat(32);
const userAgentCharsMax = 512;

/** Gathers the enrichment of one event. Guarantees: depends on the record and the tenant's settings alone, never on now. */
export function enrich(
  subject: Subject,
  event: ParsedEvent,
  envelope: CheckedEnvelope,
  eventTimeMs: number,
): Enrichment {
  const { headers } = subject.record;
  const facts: Record<string, unknown> = { delay_ms: subject.receivedAtMs - eventTimeMs };
  const userAgent = headers[header.userAgent];
  if (userAgent !== undefined) facts['user_agent'] = cleanText(userAgent).slice(0, userAgentCharsMax);
  const address = addressOf(subject);
  if (address !== null) facts['client_address'] = address;
  const lookups = subject.tenant === null ? null : lookUp(subject.tenant.lookups, event);
  if (lookups !== null) facts['lookups'] = lookups;
  const json = JSON.stringify(facts);
  return {
    traceId: traceIdOf(headers[header.traceparent]),
    json: envelope.extensions === '' ? json : `${json.slice(0, -1)},"extensions":{${envelope.extensions}}}`,
  };
}

/** The tenant's policy holds here too: what an older policy let into the log does not go on into the stores. */
function addressOf(subject: Subject): string | null {
  const address = subject.record.headers[header.clientAddress];
  const policy = subject.tenant?.clientAddressPolicy ?? 'drop';
  if (address === undefined || policy === 'drop') return null;
  return policy === 'truncate' ? truncateAddress(address) : cleanText(address).slice(0, 64);
}

function traceIdOf(value: string | undefined): string | null {
  const traceId = value === undefined ? undefined : traceparent.exec(value)?.[1];
  return traceId === undefined || traceId === noTrace ? null : traceId;
}

function lookUp(lookups: readonly Lookup[], event: ParsedEvent): Record<string, unknown> | null {
  let found: Record<string, unknown> | null = null;
  for (const lookup of lookups) {
    const key = valueAt(event, lookup.pointer);
    if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'boolean') continue;
    const name = String(key);
    if (!Object.hasOwn(lookup.values, name)) continue;
    found ??= {};
    found[lookup.name] = lookup.values[name];
  }
  return found;
}

/** The value at a JSON Pointer (RFC 6901) into the event; undefined when there is none. Own members only. */
function valueAt(event: ParsedEvent, pointer: string): unknown {
  // Binary CloudEvents hold their data apart from their attributes.
  let value: unknown =
    event.members === null ? { ...event.attributes, data: event.json?.value } : event.attributes;
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/** Header text as a store can hold it. */
function cleanText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd');
}
