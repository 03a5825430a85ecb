// What a step of the pipeline says about one event. Data outcomes are values; only broken promises are thrown.

/** One failed check of one event. */
export interface Failure {
  /** JSON Pointer (RFC 6901) into the event; '' is the event itself. */
  readonly pointer: string;
  /** The rule that failed, for example `required`, `type`, `range`. */
  readonly rule: string;
  /** What was found and what was allowed. */
  readonly message: string;
}

/** Why a record became a dead letter: the closed set is `deadLetterCodes`. */
export interface DeadLetter {
  readonly kind: 'dead_letter';
  readonly code: DeadLetterCode;
  /** Every failure found, never only the first; at least one. */
  readonly failures: readonly Failure[];
}

export type Outcome<Value> = { readonly kind: 'ok'; readonly value: Value } | DeadLetter;

/** The closed set of dead-letter codes, each with its meaning; the reference page is generated from it. */
export const deadLetterCodes = {
  unparseable: 'The bytes are not one JSON value: not UTF-8, not JSON, too deep, or too large.',
  unsigned: 'The record carries no tenant that Pulse vouches for, or its tenant may not write to this topic.',
  invalid_envelope:
    'The event breaks the envelope: a missing or mistyped event_type, event_id, time or data.',
  invalid_time: 'The event time is no valid time or lies outside 0001-01-01 to 9999-12-31.',
  unstorable_value:
    'A value that no store can hold exactly: \\u0000, a lone surrogate, or a number out of range.',
  unknown_schema: 'The event names a schema version that is not registered.',
  contract_violation: 'The event breaks the contract of its event type.',
  processing_failed: 'A step of Pulse failed on this event; the defect is in Pulse, the event is kept whole.',
} as const;

export type DeadLetterCode = keyof typeof deadLetterCodes;

export function ok<Value>(value: Value): Outcome<Value> {
  return { kind: 'ok', value };
}

export function deadLetter(code: DeadLetterCode, failures: readonly Failure[]): DeadLetter {
  return { kind: 'dead_letter', code, failures };
}
