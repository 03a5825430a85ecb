// Every way in which collect refuses a request or a line of one. Refusals mean: nothing was stored, unless said otherwise.
import { defineErrors } from '../core/errors.ts';

export const collectError = defineErrors({
  PULSE_COLLECT_METHOD_NOT_ALLOWED: {
    status: 405,
    title: 'This path takes POST only.',
    retryable: false,
    next: 'Send the events with POST.',
  },
  PULSE_COLLECT_TENANT_SUSPENDED: {
    status: 403,
    title: 'The tenant is suspended.',
    retryable: false,
    next: 'Ask the administrator of this installation to activate the tenant again.',
  },
  PULSE_COLLECT_RATE_LIMITED: {
    status: 429,
    title: 'The tenant has used up its requests of this window.',
    retryable: true,
    next: 'Wait for Retry-After, put more events into one request, or have the limit of the tenant raised.',
  },
  PULSE_COLLECT_OVERLOADED: {
    status: 503,
    title: 'Collect has as many requests or bytes in hand as it may hold.',
    retryable: true,
    next: 'Send again after Retry-After; nothing of this request was stored.',
  },
  PULSE_COLLECT_DRAINING: {
    status: 503,
    title: 'This process is stopping and takes no new requests.',
    retryable: true,
    next: 'Send again after Retry-After on a new connection; nothing of this request was stored.',
  },
  PULSE_COLLECT_BODY_TOO_LARGE: {
    status: 413,
    title: 'The body is larger than a request may be.',
    retryable: false,
    next: 'Split the events over several requests.',
  },
  PULSE_COLLECT_EVENT_TOO_LARGE: {
    status: 413,
    title: 'An event is larger than an event may be.',
    retryable: false,
    next: 'Keep large content elsewhere and send a reference to it.',
  },
  PULSE_COLLECT_EVENTS_TOO_MANY: {
    status: 413,
    title: 'The request holds more events than a request may.',
    retryable: false,
    next: 'Split the events over several requests.',
  },
  PULSE_COLLECT_BODY_TIMEOUT: {
    status: 408,
    title: 'The body did not arrive in time.',
    retryable: true,
    next: 'Send again, in smaller requests when the connection is slow; nothing of this request was stored.',
  },
  PULSE_COLLECT_BODY_EMPTY: {
    status: 400,
    title: 'The body is empty.',
    retryable: false,
    next: 'Send one event, an array of events, {"events":[…]}, or NDJSON.',
  },
  PULSE_COLLECT_ENCODING_UNSUPPORTED: {
    status: 415,
    title: 'The Content-Encoding is not supported.',
    retryable: false,
    next: 'Send the body plain, or compressed once with gzip, deflate or br.',
  },
  PULSE_COLLECT_ENCODING_INVALID: {
    status: 400,
    title: 'The body cannot be decompressed.',
    retryable: false,
    next: 'Check that the body is what Content-Encoding says.',
  },
  PULSE_COLLECT_MEDIA_TYPE_UNSUPPORTED: {
    status: 415,
    title: 'The Content-Type is not supported here.',
    retryable: false,
    next: 'Send application/json, application/x-ndjson, or application/cloudevents(-batch)+json to /v1/collect.',
  },
  PULSE_COLLECT_NOT_UTF8: {
    status: 400,
    title: 'The JSON is not encoded in UTF-8.',
    retryable: false,
    next: 'Encode the text in UTF-8 without a byte order mark.',
  },
  PULSE_COLLECT_NOT_JSON: {
    status: 400,
    title: 'The text is not JSON.',
    retryable: false,
    next: 'Check the text with a JSON parser; the detail says where it breaks.',
  },
  PULSE_COLLECT_TOO_DEEP: {
    status: 400,
    title: 'An event nests arrays and objects too deeply.',
    retryable: false,
    next: 'Flatten the event.',
  },
  PULSE_COLLECT_ATTRIBUTE_INVALID: {
    status: 400,
    title: 'A ce- header holds no valid CloudEvents attribute.',
    retryable: false,
    next: 'Mend the header that the detail names, or send the event in structured mode.',
  },
  PULSE_COLLECT_NOTHING_ACCEPTED: {
    status: 422,
    title: 'No line of the body could be accepted.',
    retryable: false,
    next: 'Mend the lines as `errors` says.',
  },
  PULSE_COLLECT_IDEMPOTENCY_KEY_INVALID: {
    status: 400,
    title: 'The Idempotency-Key is malformed.',
    retryable: false,
    next: 'Send 1 to 255 visible ASCII characters, plain or as a quoted string.',
  },
  PULSE_COLLECT_IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    title: 'The Idempotency-Key was used with another payload.',
    retryable: false,
    next: 'Send a new key with a new payload, and the same bytes with the same key.',
  },
  PULSE_COLLECT_IDEMPOTENCY_KEY_IN_PROGRESS: {
    status: 409,
    title: 'A request with this Idempotency-Key is still under way.',
    retryable: true,
    next: 'Send again after Retry-After; the stored answer comes back then.',
  },
});

/** The client went away before its body was complete: there is nobody to answer. Counted, never shown. */
export class ClientGone extends Error {}
