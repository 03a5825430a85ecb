// The directory: every tenant and live key in the memory of each process, read again every second.
import type { Clock } from '../core/clock.ts';
import type { SettingValues } from '../core/settings.ts';
import type { Database } from '../database/types.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { tenancySettings } from './config.ts';
import { type DirectoryChange, DirectoryState, type TopicSets } from './directory-state.ts';
import { tenancyError } from './errors.ts';
import { watchDirectory } from './metrics.ts';
import { sharedTopicNames } from './topics.ts';
import type { Directory, Principal, Tenant, TopicNames } from './types.ts';

export interface DirectoryOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<
    SettingValues<typeof tenancySettings>,
    | 'PULSE_TENANCY_REFRESH_MS'
    | 'PULSE_TENANCY_STALE_MS_MAX'
    | 'PULSE_TENANCY_TOPIC_RAW'
    | 'PULSE_TENANCY_TOPIC_VALID'
    | 'PULSE_TENANCY_TOPIC_DLQ'
  >;
}

/** A directory with what its process shows about it. */
export interface OpenDirectory extends Directory {
  /** Age of the last successful read, and how much is known. */
  status(): {
    readonly ageMs: number;
    readonly tenants: number;
    readonly keys: number;
    readonly lastError: string | null;
  };
}

/**
 * Everything is read again this often. Changes alone are enough while one database answers; this heals what nothing
 * announces, such as a restored backup or rows removed by hand.
 */
const reloadMs = 300_000;

/** While reading fails, say so at most this often. */
const complaintMs = 30_000;

/**
 * Opens the directory and resolves once it knows every tenant and key.
 * Guarantees: a change committed anywhere is known within one refresh interval and one query, and none is missed: each
 * read starts where every transaction that the last one could not see begins. Reads never overlap, so an older answer
 * never replaces a newer one.
 * Errors: those of the database when the first read fails.
 */
export async function openDirectory(options: DirectoryOptions): Promise<OpenDirectory> {
  const directory = new PolledDirectory(options);
  try {
    await directory.refresh();
  } catch (error) {
    await directory.close();
    throw error;
  }
  directory.poll();
  return directory;
}

class PolledDirectory implements OpenDirectory {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #shared: TopicNames;
  readonly #refreshMs: number;
  readonly #staleMsMax: number;
  readonly #unwatch: () => void;
  #state: DirectoryState;
  /** What the next read asks for; 0 asks for everything. */
  #since = 0;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #reloadedAtMs = Number.NEGATIVE_INFINITY;
  #complainedAtMs = Number.NEGATIVE_INFINITY;
  #lastError: string | null = null;
  #running: Promise<void> | null = null;
  #waiting: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: DirectoryOptions) {
    this.#database = options.database;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#shared = sharedTopicNames(options.settings);
    this.#refreshMs = options.settings.PULSE_TENANCY_REFRESH_MS;
    this.#staleMsMax = options.settings.PULSE_TENANCY_STALE_MS_MAX;
    this.#state = new DirectoryState(this.#shared);
    this.#unwatch = watchDirectory(() => this.status());
  }

  principal(credential: string): Principal | null {
    const ageMs = this.#clock.now() - this.#readAtMs;
    if (ageMs > this.#staleMsMax) {
      throw tenancyError(
        'PULSE_TENANCY_DIRECTORY_STALE',
        `Keys were last read ${Math.round(ageMs / 1000)} s ago; at most ${this.#staleMsMax / 1000} s are allowed.`,
        { retryAfterMs: 5_000, details: { last_read_seconds: Math.round(ageMs / 1000) } },
      );
    }
    return this.#state.principal(credential, this.#clock);
  }

  tenant(tenantId: string): Tenant | null {
    return this.#state.tenant(tenantId);
  }

  tenants(): readonly Tenant[] {
    return this.#state.tenants();
  }

  topics(tenantId: string): TopicNames {
    const names = this.#state.topics(tenantId);
    if (names === null)
      throw tenancyError('PULSE_TENANCY_TENANT_UNKNOWN', `There is no tenant '${tenantId}'.`);
    return names;
  }

  topicSets(): TopicSets {
    return this.#state.topicSets();
  }

  status(): ReturnType<OpenDirectory['status']> {
    const ageMs = Math.max(0, this.#clock.now() - this.#readAtMs);
    return { ageMs, ...this.#state.size(), lastError: this.#lastError };
  }

  refresh(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#running === null) return this.#read();
    // The read under way may have begun before the caller's change, so it takes one more; all who wait share it.
    this.#waiting ??= this.#running.then(
      () => this.#read(),
      () => this.#read(),
    );
    return this.#waiting;
  }

  /** Reads again and again until closed. */
  poll(): void {
    this.#timer = setTimeout(() => {
      this.refresh().then(
        () => this.#succeeded(),
        (error: unknown) => this.#failed(error),
      );
    }, this.#refreshMs);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch();
    if (this.#timer !== null) clearTimeout(this.#timer);
    await Promise.allSettled([this.#running, this.#waiting]);
  }

  #read(): Promise<void> {
    this.#waiting = null;
    const running = this.#readChanges().finally(() => {
      this.#running = null;
    });
    this.#running = running;
    return running;
  }

  async #readChanges(): Promise<void> {
    if (this.#closed) return;
    // The age counts from before the query: what it returns may be that old.
    const startedAtMs = this.#clock.now();
    if (startedAtMs - this.#reloadedAtMs >= reloadMs) this.#since = 0;
    const { rows } = await this.#database.query<DirectoryChange>(
      'SELECT kind, entry FROM pulse_directory_changes($1)',
      [this.#since],
    );
    const horizon = rows.find((row) => row.kind === 'horizon')?.entry.horizon ?? 0;
    const isReload = this.#since === 0;
    const state = isReload ? new DirectoryState(this.#shared) : this.#state;
    state.apply(rows);
    this.#state = state;
    if (isReload) this.#reloadedAtMs = startedAtMs;
    // Transaction ids went back: this is another database cluster, whose changes the old horizon would hide.
    this.#since = horizon < this.#since ? 0 : horizon;
    this.#readAtMs = startedAtMs;
  }

  #succeeded(): void {
    if (this.#lastError !== null) this.#logger.info('tenants and keys can be read again');
    this.#lastError = null;
    this.#complainedAtMs = Number.NEGATIVE_INFINITY;
    if (!this.#closed) this.poll();
  }

  #failed(error: unknown): void {
    this.#lastError = error instanceof Error ? error.message : String(error);
    const nowMs = this.#clock.now();
    if (nowMs - this.#complainedAtMs >= complaintMs) {
      this.#complainedAtMs = nowMs;
      this.#logger.warn(
        { err: error, age_ms: nowMs - this.#readAtMs },
        'tenants and keys cannot be read; known keys go on',
      );
    }
    if (!this.#closed) this.poll();
  }
}
