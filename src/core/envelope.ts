// The words that an event carries through Pulse: header names of log records, and the canonical envelope.

/** Header names of records in `events.raw`, `events.valid` and `events.dlq`. CloudEvents Kafka binding plus our own. */
export const header = {
  id: 'ce_id',
  type: 'ce_type',
  source: 'ce_source',
  time: 'ce_time',
  subject: 'ce_subject',
  /** Tenant that owns the record; set by Pulse from the credential alone. */
  tenant: 'pulse_tenant',
  /** When the event was accepted, ISO 8601 UTC with milliseconds. */
  receivedAt: 'pulse_received_at',
  /** How it came in: see `Protocol`. */
  protocol: 'pulse_protocol',
  /** 1 for the first attempt; reprocessing counts up. */
  attempt: 'pulse_attempt',
  /** Position of a dead letter's first attempt; only on attempts > 1. */
  origin: 'pulse_origin',
  traceparent: 'traceparent',
  requestId: 'pulse_request_id',
  idempotencyKey: 'pulse_idempotency_key',
  /** SHA-256 (base64url) of the request's bytes; only beside an idempotency key. */
  requestHash: 'pulse_request_hash',
  /** `index/count` of the event inside its request; only beside an idempotency key. */
  requestIndex: 'pulse_request_index',
  userAgent: 'pulse_user_agent',
  clientAddress: 'pulse_client_address',
  /** On events.valid and events.dlq: the raw position that the record comes from. */
  sourcePosition: 'pulse_source',
  /** On events.valid: the raw position of the record emitted before it in this partition; absent on the first. */
  previousPosition: 'pulse_previous_source',
  /** On events.dlq: dead-letter code, stage, and failures as a JSON array of {pointer, rule, message}. */
  deadLetterCode: 'pulse_dead_letter_code',
  deadLetterStage: 'pulse_dead_letter_stage',
  deadLetterFailures: 'pulse_dead_letter_failures',
} as const;

/**
 * How an event came in. It says how `value` is to be read:
 * - `native`: value is the native event `{event_id?, event_type, event_time?, …, data}`.
 * - `cloudevents-binary`: value is the data alone; attributes are in `ce_*` headers; `content_type` header holds its type.
 * - `cloudevents-structured`: value is the CloudEvents JSON object (also each element of a CloudEvents batch).
 */
export type Protocol = 'native' | 'cloudevents-binary' | 'cloudevents-structured';

/** Header that keeps the content type of a `cloudevents-binary` value. */
export const contentTypeHeader = 'content_type';

/** Prefix of headers that keep CloudEvents extension attributes and any other `ce_` attribute. */
export const cloudEventsHeaderPrefix = 'ce_';

/** Longest event id, event type, subject and source, in UTF-16 units. */
export const attributeCharsMax = 512;

/** Deepest nesting of arrays and objects in an event. Deeper JSON breaks serializers and databases behind us. */
export const jsonDepthMax = 64;

/** Largest single event in bytes. */
export const eventBytesMax = 1_048_576;

/** Tenant ids: immutable slugs. */
export const tenantIdPattern = /^[a-z0-9_-]{1,63}$/;

/**
 * The canonical envelope, the JSON value of every record in `events.valid`. On the wire `data` is spliced in as the
 * original bytes, so it may hold numbers that JavaScript cannot; parse it only where its values are needed.
 * Every field but `data` is always present; nullable ones are null.
 */
export interface Envelope {
  readonly event_id: string;
  readonly tenant_id: string;
  readonly event_type: string;
  /** ISO 8601 UTC with milliseconds. The time of receipt when the event named none. */
  readonly event_time: string;
  readonly received_at: string;
  readonly schema_version: string | null;
  readonly subject: string | null;
  readonly source: string | null;
  readonly idempotency_key: string | null;
  readonly request_id: string | null;
  readonly protocol: Protocol;
  readonly attempt: number;
  readonly trace_id: string | null;
  /** What Pulse adds: `delay_ms` (receive minus event time), `user_agent`, `client_address`, tenant lookups, ce extensions. */
  readonly enrichment: Readonly<Record<string, unknown>>;
  readonly data: unknown;
}
