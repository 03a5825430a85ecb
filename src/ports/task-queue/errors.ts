// Errors of every TaskQueue adapter.
import { defineErrors } from '../../core/errors.ts';

export const taskQueueError = defineErrors({
  PULSE_TASK_QUEUE_UNAVAILABLE: {
    status: 503,
    title: 'The task queue cannot be reached.',
    retryable: true,
    next: 'Nothing: it is tried again by itself. When it lasts, look at the database.',
  },
});
