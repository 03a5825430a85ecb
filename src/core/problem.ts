// Errors as RFC 9457 problems: the one shape in which every HTTP answer of Pulse reports a failure. No I/O.
import { defineErrors, type PulseError } from './errors.ts';

const problemError = defineErrors({
  PULSE_INTERNAL_ERROR: {
    status: 500,
    title: 'Pulse failed in a way that it does not know.',
    retryable: true,
    next: 'Send again; when it stays, look for the request_id in the log of Pulse and report what stands there.',
  },
});

/** What a client reads. Facts of the occurrence (`details`) stand beside these members and never replace one of them. */
export interface ProblemBody {
  readonly [fact: string]: unknown;
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly next: string;
  readonly request_id: string;
}

/** Media type of a problem. */
export const problemMediaType = 'application/problem+json';

/** Stands in for an error that is no PulseError, so that nothing internal reaches a client. Log the real one. */
export function internalError(cause?: unknown): PulseError {
  return problemError('PULSE_INTERNAL_ERROR', 'An unexpected error ended this request.', { cause });
}

/**
 * The problem of an error. `type` names the code, so that a client may branch on either.
 * Source: RFC 9457 §3.
 */
export function problemBody(error: PulseError, requestId: string): ProblemBody {
  return {
    ...error.details,
    type: `urn:pulse:error:${error.code}`,
    title: error.title,
    status: error.status,
    detail: error.message,
    code: error.code,
    next: error.next,
    request_id: requestId,
  };
}

/** Retry time of a retryable refusal that names none: long enough to take pressure off, short enough not to be felt. */
const retryAfterSecondsDefault = 1;

/**
 * The headers that go with a problem: media type, `Retry-After` in whole seconds (rounded up, at least 1) when trying
 * again can help, `WWW-Authenticate` on 401.
 * Source: RFC 9110 §10.2.3, §11.6.1.
 */
export function problemHeaders(error: PulseError): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': problemMediaType };
  if (error.retryAfterMs !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
  } else if (error.retryable && (error.status === 429 || error.status === 503 || error.status === 409)) {
    headers['retry-after'] = String(retryAfterSecondsDefault);
  }
  if (error.status === 401) headers['www-authenticate'] = 'Bearer realm="pulse"';
  return headers;
}
