// The embedded Postgres: a real server, started by this process, kept running, and ended with it.
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Logger } from 'pino';
import { type Cluster, OWNER_ROLE, prepareCluster, type ServerTuning } from './embedded-cluster.ts';
import { postgresBinaries } from './embedded-identity.ts';
import { databaseError } from './errors.ts';
import { awaitReady, letGo, type Postmaster, spawnPostmaster, takeOver } from './postmaster.ts';
import { keepPriorityLow } from './priority.ts';

/** Name of the database inside the cluster. */
const DATABASE = 'pulse';

/** Niceness of the server: accepting events comes first, sinks may lag (measured: p99 61 → 12 ms beside a saturated sink). */
const NICENESS = 10;

/** Crash recovery takes about 8 s at most where it was measured; a slow disk gets its time. */
const READY_TIMEOUT_MS = 120_000;

export interface EmbeddedPostgresOptions {
  readonly dataDirectory: string;
  readonly logger: Logger;
  readonly tuning?: Partial<ServerTuning>;
  readonly signal?: AbortSignal;
}

/** A running embedded server. */
export interface EmbeddedPostgres {
  /** As the role that owns everything (superuser of this server). */
  readonly ownerUrl: string;
  /** As `pulse_app`; works once `migrate` has made the role. */
  readonly appUrl: string;
  /** For the role `pulse_app`. */
  readonly appPassword: string;
  /** The postmaster now running; changes when it had to be started again. */
  readonly pid: number;
  /** Ends the server after a checkpoint. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts PostgreSQL in `<dataDirectory>/postgres`, makes the cluster first when there is none, and waits until it takes connections.
 * Guarantees: a server that ends unasked is started again on the same port; when this process dies in any way, the server ends shortly
 * after; a server that an earlier run left behind is ended first; the process may exit without calling stop.
 * Errors: PULSE_DATABASE_START_FAILED, _IN_USE, _DIRECTORY_VERSION, _DIRECTORY_UNUSABLE, _ROOT_REFUSED, _PLATFORM_UNSUPPORTED.
 * Cost: first start about 1 s, later ones about 0.1 s (measured).
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDirectory, logger } = options;
  const tuning = { sharedBuffersMib: 192, synchronousCommit: 'on', fsync: true, ...options.tuning } as const;
  const cluster = await prepareCluster(dataDirectory, postgresBinaries(), tuning);
  await takeOver(cluster.directory, logger);
  const server = new Server(cluster, logger);
  const ownerUrl = (database: string) =>
    `postgres://${OWNER_ROLE}:${cluster.secrets.ownerPassword}@127.0.0.1:${server.port}/${database}`;
  try {
    await server.start(options.signal);
    await createDatabase(ownerUrl('postgres'));
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    ownerUrl: ownerUrl(DATABASE),
    appUrl: `postgres://pulse_app:${cluster.secrets.appPassword}@127.0.0.1:${server.port}/${DATABASE}`,
    appPassword: cluster.secrets.appPassword,
    get pid() {
      return server.pid;
    },
    stop: () => server.stop(),
  };
}

async function createDatabase(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

/** Keeps one postmaster running on one port. */
class Server {
  readonly #cluster: Cluster;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #postmaster: Postmaster | null = null;
  #stopPriority: () => void = () => {};
  #stopped: Promise<void> | null = null;
  port = 0;

  constructor(cluster: Cluster, logger: Logger) {
    this.#cluster = cluster;
    this.#logger = logger;
  }

  get pid(): number {
    return this.#postmaster?.pid ?? -1;
  }

  async start(signal?: AbortSignal): Promise<void> {
    const startedMs = performance.now();
    const attemptsMax = 40;
    for (let attempt = 1; ; attempt++) {
      this.port = await freePort();
      const failure = await this.#launch(signal);
      if (failure === null) break;
      // A killed server holds its lock file and its memory until the last of its processes is gone and reaped.
      const isPassing =
        /pre-existing shared memory block|Address already in use|lock file "postmaster\.pid" already exists/i.test(
          failure,
        );
      if (!isPassing || attempt === attemptsMax) {
        throw databaseError(
          'PULSE_DATABASE_START_FAILED',
          `Postgres in '${this.#cluster.directory}' ended before it was ready: ${failure || 'it said nothing'}`,
        );
      }
      await sleep(250, undefined, { signal });
    }
    const elapsedMs = Math.round(performance.now() - startedMs);
    this.#logger.info(
      { port: this.port, postgres_pid: this.pid, elapsed_ms: elapsedMs },
      'Postgres is ready',
    );
  }

  /** Starts a postmaster on the port; null when it is ready, else what it said. */
  async #launch(signal?: AbortSignal): Promise<string | null> {
    const postmaster = spawnPostmaster(this.#cluster, this.port, NICENESS);
    this.#postmaster = postmaster;
    try {
      await awaitReady(this.#cluster, postmaster, {
        timeoutMs: READY_TIMEOUT_MS,
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      await postmaster.stop();
      if (signal?.aborted === true) throw error;
      return (error as Error).message;
    }
    this.#stopPriority();
    this.#stopPriority = keepPriorityLow(postmaster.pid, NICENESS);
    void postmaster.ended.then(() => this.#startAgain());
    return null;
  }

  /** A killed or crashed server is started again on its port, with growing pauses, until stop. */
  async #startAgain(): Promise<void> {
    for (let pauseMs = 50; !this.#stopping.signal.aborted; pauseMs = Math.min(pauseMs * 2, 5_000)) {
      this.#logger.error({ port: this.port }, 'Postgres ended unasked and is started again');
      try {
        const failure = await this.#launch(this.#stopping.signal);
        if (failure === null) return;
        this.#logger.error({ detail: failure }, 'Postgres did not start');
        await sleep(pauseMs, undefined, { signal: this.#stopping.signal });
      } catch (error) {
        if (!this.#stopping.signal.aborted) this.#logger.error({ err: error }, 'Postgres cannot be started');
      }
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    this.#stopping.abort();
    this.#stopPriority();
    await this.#postmaster?.stop();
    await letGo(this.#cluster.directory);
  }
}

/** A port that nobody listens on now. Somebody may take it before Postgres does; the caller then tries another. */
async function freePort(): Promise<number> {
  const probe = createServer();
  return await new Promise((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
