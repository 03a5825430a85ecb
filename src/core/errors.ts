// The one error type of Pulse, and how a room declares its errors. Each room keeps its own table in `errors.ts`;
// the reference in docs/reference/errors.md is generated from all of them.

/** One row of an error table. */
export interface ErrorDefinition {
  /** HTTP status when the error reaches a client. */
  readonly status: number;
  /** What went wrong in general, without values; the `title` of the RFC 9457 problem. */
  readonly title: string;
  /** True when the same call may succeed later without being changed. */
  readonly retryable: boolean;
  /** The next move of the reader, as one sentence. */
  readonly next: string;
}

/** What is known about one occurrence of an error. */
export interface ErrorFacts {
  readonly cause?: unknown;
  /** When to try again, in milliseconds; sent as `Retry-After` in whole seconds, rounded up. */
  readonly retryAfterMs?: number;
  /** Machine-readable facts that are safe to show to the caller. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** A broken promise with a stable code. Branch on `code`, never on the message. */
export class PulseError extends Error {
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly retryable: boolean;
  readonly next: string;
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: string, definition: ErrorDefinition, detail: string, options: ErrorFacts = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PulseError';
    this.code = code;
    this.status = definition.status;
    this.title = definition.title;
    this.retryable = definition.retryable;
    this.next = definition.next;
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details;
  }
}

/** Makes an error of one code. `detail` says what happened, with which value, and what was allowed. */
export type ErrorFactory<Code extends string> = (
  code: Code,
  detail: string,
  options?: ErrorFacts,
) => PulseError;

const catalogue = new Map<string, ErrorDefinition>();

/**
 * Declares a room's errors and returns the function that makes them.
 * Errors: throws when a code is declared twice or is not `PULSE_<AREA>_<PROBLEM>`.
 */
export function defineErrors<const Table extends Record<string, ErrorDefinition>>(
  table: Table,
): ErrorFactory<Extract<keyof Table, string>> {
  for (const [code, definition] of Object.entries(table)) {
    if (!/^PULSE_[A-Z0-9]+(_[A-Z0-9]+)+$/.test(code)) throw new Error(`error code ${code} is malformed`);
    if (catalogue.has(code)) throw new Error(`error code ${code} is declared twice`);
    catalogue.set(code, definition);
  }
  return (code, detail, options) => new PulseError(code, table[code] as ErrorDefinition, detail, options);
}

/** Every declared error by code, in order of declaration; complete once all rooms are imported. */
export function errorCatalogue(): ReadonlyMap<string, ErrorDefinition> {
  return catalogue;
}

/** True for a PulseError with this code. */
export function hasCode(error: unknown, code: string): error is PulseError {
  return error instanceof PulseError && error.code === code;
}
