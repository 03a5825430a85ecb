// TaskQueue on Postgres by pg-boss. Its schema is made by migration 0002; the running role creates nothing.
import { type JobWithMetadata, PgBoss } from 'pg-boss';
import { uuidv5 } from '../../../core/ids.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { taskQueueError } from '../errors.ts';
import type { Task, TaskIds, TaskQueue, WorkOptions } from '../task-queue.ts';

const schema = 'pulse_tasks';
/** A worker that is silent for so long has died; its task is begun again. */
const heartbeatSeconds = 30;
/** Longest time of one try; longer work ends its try and goes on in the next one. */
const expireSeconds = 12 * 3600;
const stopTimeoutMs = 20_000;

export interface PostgresTaskQueueOptions {
  /** As the role `pulse_app`. */
  readonly url: string;
  readonly logger: Logger;
  /** Pause between two looks for new tasks; 1 s by default. */
  readonly pollMs?: number;
}

/**
 * Opens the queue.
 * Guarantees: errors of the connection are logged and waited out, never thrown at the process.
 * Errors: PULSE_TASK_QUEUE_UNAVAILABLE when Postgres cannot be reached now.
 */
export async function openPostgresTaskQueue(options: PostgresTaskQueueOptions): Promise<TaskQueue> {
  const boss = new PgBoss({
    connectionString: options.url,
    application_name: 'pulse-tasks',
    schema,
    max: 2,
    migrate: false,
    createSchema: false,
    schedule: false,
    supervise: true,
    superviseIntervalSeconds: 15,
    monitorIntervalSeconds: 15,
    maintenanceIntervalSeconds: 3600,
    // Both need the owner of the tables.
    reindex: false,
    monitorVacuum: false,
  });
  boss.on('error', (error) => options.logger.warn({ err: error }, 'the task queue met an error; it goes on'));
  await reached(() => boss.start());
  return new PostgresTaskQueue(boss, options);
}

class PostgresTaskQueue implements TaskQueue {
  readonly #boss: PgBoss;
  readonly #options: PostgresTaskQueueOptions;
  readonly #queues = new Set<string>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(boss: PgBoss, options: PostgresTaskQueueOptions) {
    this.#boss = boss;
    this.#options = options;
  }

  async enqueue(
    task: string,
    ids: TaskIds,
    { key, runAtMs }: { readonly key: string; readonly runAtMs: number },
  ): Promise<void> {
    await this.#makeQueue(task);
    // The id follows from the key, and an id that is there already is not inserted again, finished or not.
    await reached(() =>
      this.#boss.send(task, { ...ids }, { id: uuidv5('task', task, key), startAfter: new Date(runAtMs) }),
    );
  }

  async work(task: string, options: WorkOptions, handler: (task: Task) => Promise<void>): Promise<void> {
    const retryDelay = Math.max(1, Math.ceil(options.retryDelayMs / 1000));
    await this.#makeQueue(task);
    await reached(() =>
      this.#boss.updateQueue(task, {
        retryLimit: options.attemptsMax - 1,
        retryDelay,
        retryBackoff: true,
        retryDelayMax: Math.max(retryDelay, Math.ceil(options.retryDelayMaxMs / 1000)),
        expireInSeconds: expireSeconds,
        heartbeatSeconds,
      }),
    );
    const workOptions = {
      includeMetadata: true,
      batchSize: 1,
      localConcurrency: options.concurrency,
      pollingIntervalSeconds: Math.max(0.5, (this.#options.pollMs ?? 1_000) / 1000),
    } as const;
    const attemptsMax = options.attemptsMax;
    await reached(() =>
      this.#boss.work<Record<string, string>, void, typeof workOptions>(task, workOptions, async (jobs) => {
        for (const job of jobs) await handler(this.#taskOf(job, attemptsMax));
      }),
    );
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await this.#boss.stop({ graceful: true, close: true, timeout: stopTimeoutMs });
  }

  async #makeQueue(task: string): Promise<void> {
    if (this.#queues.has(task)) return;
    await reached(() => this.#boss.createQueue(task, { policy: 'standard', heartbeatSeconds }));
    this.#queues.add(task);
  }

  #taskOf(job: JobWithMetadata<Record<string, string>>, attemptsMax: number): Task {
    return {
      ids: job.data,
      attempt: job.retryCount + 1,
      isLastAttempt: job.retryCount + 1 >= attemptsMax,
      signal: AbortSignal.any([job.signal, this.#closing.signal]),
    };
  }
}

/** Names the error of a Postgres that does not answer. */
async function reached<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const text = `The task queue: ${(error as Error).message}.`;
    throw taskQueueError('PULSE_TASK_QUEUE_UNAVAILABLE', text, { cause: error, retryAfterMs: 1_000 });
  }
}
