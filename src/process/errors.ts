// Errors of the process room.
import { defineErrors } from '../core/errors.ts';

/** Makes an error of this room. */
export const processError = defineErrors({
  PULSE_PROCESS_TOPICS_MISMATCHED: {
    status: 500,
    title: 'A valid topic has another number of partitions than its raw topic.',
    retryable: false,
    next: 'Give both topics the same number of partitions; each raw partition feeds the valid partition of its number.',
  },
  PULSE_PROCESS_LEDGER_UNSETTLED: {
    status: 503,
    title: 'Entries of the ledger were removed while they were being claimed.',
    retryable: true,
    next: 'Nothing: the batch is claimed again by itself. When it lasts, raise PULSE_PROCESS_LEDGER_RETENTION_MS.',
  },
  PULSE_PROCESS_LOG_REPLACED: {
    status: 500,
    title: 'A topic ends before the place that was already processed.',
    retryable: false,
    next: 'Restore the log from a backup as recent as the database; nothing is skipped or processed twice meanwhile.',
  },
  PULSE_PROCESS_VALID_RECORD_INVALID: {
    status: 500,
    title: 'The last record of a valid topic does not say which raw record it comes from.',
    retryable: false,
    next: 'Find out who else writes to the valid topic; only the worker of Pulse may.',
  },
  PULSE_PROCESS_DEAD_LETTER_UNKNOWN: {
    status: 404,
    title: 'No dead letter has this id.',
    retryable: false,
    next: 'Check the id; dead letters older than their retention are gone.',
  },
  PULSE_PROCESS_CURSOR_INVALID: {
    status: 400,
    title: 'The cursor is not one that this list has given out.',
    retryable: false,
    next: 'Start again without cursor, and pass next_cursor on unchanged.',
  },
  PULSE_PROCESS_FILTER_INVALID: {
    status: 400,
    title: 'A filter of the list cannot be read.',
    retryable: false,
    next: 'Send from and to as RFC 3339 times with from before to.',
  },
  PULSE_PROCESS_PATCH_INVALID: {
    status: 400,
    title: 'The patch is no JSON Patch.',
    retryable: false,
    next: 'Send an array of RFC 6902 operations as the detail says.',
  },
  PULSE_PROCESS_REPAIR_INVALID: {
    status: 400,
    title: 'The repair does not say which dead letters it is for.',
    retryable: false,
    next: 'Send either ids or filter; the administrator also names the tenant with ?tenant_id=.',
  },
  PULSE_PROCESS_JOB_UNKNOWN: {
    status: 404,
    title: 'No repair job has this id.',
    retryable: false,
    next: 'Check the id; GET /v1/jobs lists the jobs that are kept.',
  },
  PULSE_PROCESS_JOB_STATE: {
    status: 409,
    title: 'The job is in a state that does not allow this.',
    retryable: false,
    next: 'Look at the job: only queued and running jobs can be cancelled, only cancelled and failed ones resumed.',
  },
  PULSE_PROCESS_JOBS_TOO_MANY: {
    status: 429,
    title: 'The tenant has as many unfinished repair jobs as it may have.',
    retryable: true,
    next: 'Wait until one has finished, or cancel one.',
  },
});
