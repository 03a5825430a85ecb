// Errors of the store room.
import { defineErrors } from '../core/errors.ts';

/** Makes an error of this room. */
export const storeError = defineErrors({
  PULSE_STORE_GAP: {
    status: 500,
    title: 'Records before this one are missing from the valid topic.',
    retryable: false,
    next: 'Restore the valid topic from a backup; the partition goes on by itself once the missing records are there.',
  },
  PULSE_STORE_EPOCH_UNKNOWN: {
    status: 500,
    title: 'A record comes from a raw log that this database does not know.',
    retryable: false,
    next: 'Run log and database of the same installation, or restore both from the same backup.',
  },
  PULSE_STORE_LOG_REPLACED: {
    status: 500,
    title: 'The valid topic ends before the place that was already stored.',
    retryable: false,
    next: 'Restore the log from a backup as recent as the database; nothing is skipped or stored twice meanwhile.',
  },
  PULSE_STORE_RECORD_INVALID: {
    status: 500,
    title: 'A record of the valid topic lacks what Pulse itself always writes.',
    retryable: false,
    next: 'Find out who else writes to the valid topic; only the worker of Pulse may.',
  },
  PULSE_STORE_EVENT_UNKNOWN: {
    status: 404,
    title: 'No stored event has this id.',
    retryable: false,
    next: 'Check the id, or ask the receipt of the event where it is now.',
  },
  PULSE_STORE_ORIGINAL_GONE: {
    status: 410,
    title: 'The original bytes have left the event log.',
    retryable: false,
    next: 'Read the event without /raw; raise the retention of the log to keep originals longer.',
  },
  PULSE_STORE_RECEIPT_UNKNOWN: {
    status: 404,
    title: 'No event of yours has this receipt.',
    retryable: false,
    next: 'Check that the receipt is whole and the credential belongs to the tenant that got it.',
  },
  PULSE_STORE_RECEIPT_EXPIRED: {
    status: 410,
    title: 'The receipt is older than anything that is kept.',
    retryable: false,
    next: 'Ask for receipts within the retention of log and store.',
  },
  PULSE_STORE_CURSOR_INVALID: {
    status: 400,
    title: 'The cursor is not one that this list has given out.',
    retryable: false,
    next: 'Start again without cursor, and pass next_cursor on unchanged.',
  },
  PULSE_STORE_PREDICATE_INVALID: {
    status: 400,
    title: 'The query is no valid SQL/JSON path.',
    retryable: false,
    next: 'Mend the place that the detail names; an example is q=$.amount > 10 && $.city == "Rome".',
  },
  PULSE_STORE_RANGE_INVALID: {
    status: 400,
    title: 'The time range cannot be used.',
    retryable: false,
    next: 'Send from and to as RFC 3339 times with from before to, within the span that the detail names.',
  },
  PULSE_STORE_QUERY_TIMEOUT: {
    status: 422,
    title: 'The search took longer than one search may.',
    retryable: false,
    next: 'Narrow from and to, name an event_type, or simplify q.',
  },
  PULSE_STORE_READS_FULL: {
    status: 429,
    title: 'Too many reads of this caller are under way.',
    retryable: true,
    next: 'Send fewer reads at once, or narrow those that are slow; others are not held up by yours.',
  },
  PULSE_STORE_STREAM_FULL: {
    status: 503,
    title: 'The live tail has as many clients as it may have.',
    retryable: true,
    next: 'Try again later, or raise PULSE_STORE_STREAM_CLIENTS.',
  },
});
