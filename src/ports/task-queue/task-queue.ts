// The TaskQueue port: work that is done later and surely, by whichever process works on it. Adapters live in folders beside this
// file and are proven by contract.ts. A task holds ids only; what it works on stands in the tables of its room.

/** What a task is about; ids only, never a tenant's data. */
export type TaskIds = Readonly<Record<string, string>>;

/** A task that is being worked on. */
export interface Task {
  readonly ids: TaskIds;
  /** 1 on the first try. */
  readonly attempt: number;
  /** No further try follows when this one throws. */
  readonly isLastAttempt: boolean;
  /** Aborts when the queue closes; the task must then end soon, in whatever way. */
  readonly signal: AbortSignal;
}

export interface WorkOptions {
  /** Tries of one task in all; >= 1. */
  readonly attemptsMax: number;
  /** Pause before the second try, doubled for each further one. Units: whole seconds. */
  readonly retryDelayMs: number;
  readonly retryDelayMaxMs: number;
  /** Tasks worked on side by side by this worker. */
  readonly concurrency: number;
}

export interface TaskQueue {
  /**
   * Remembers a task, to be begun at or after `runAtMs` (milliseconds since the epoch).
   * Guarantees: durable when it resolves; survives any crash. A key that was enqueued before, under this name of task, adds nothing,
   * however often and from however many processes, for as long as finished tasks are kept (7 days).
   * Errors: PULSE_TASK_QUEUE_UNAVAILABLE (retryable).
   */
  enqueue(
    task: string,
    ids: TaskIds,
    options: { readonly key: string; readonly runAtMs: number },
  ): Promise<void>;
  /**
   * Works on the tasks of a name until the queue closes.
   * Guarantees: at least once: a task whose worker died is begun again within about a minute; a task that throws is tried again with
   * growing pauses, at most `attemptsMax` times in all. Call it once for each name.
   */
  work(task: string, options: WorkOptions, handler: (task: Task) => Promise<void>): Promise<void>;
  /** Aborts the tasks in hand, waits for their end, lets go of every connection. Safe to call twice. */
  close(): Promise<void>;
}
