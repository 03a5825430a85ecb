// The pool of connections as `pulse_app`, and the transactions that bind tenants.

import { Pool, type PoolClient, type QueryConfig, types } from 'pg';
import type { Logger } from 'pino';
import { failpoint } from '../core/failpoint.ts';
import { databaseError } from './errors.ts';
import { isConnectionFailure, translate } from './failures.ts';
import type { Database, Queryable, QueryOptions } from './types.ts';

export interface DatabaseOptions {
  /** As the role `pulse_app`. */
  readonly url: string;
  readonly poolSize: number;
  /** Shown by Postgres beside each connection. */
  readonly applicationName: string;
  readonly statementTimeoutMs: number;
  /** How long a caller waits for a connection. */
  readonly connectTimeoutMs?: number;
  readonly logger: Logger;
}

/**
 * Opens the pool and checks that its role cannot get around row-level security.
 * Guarantees: a Postgres that is killed, stopped or frozen never ends this process: callers get PULSE_DATABASE_UNAVAILABLE within
 * statementTimeoutMs + 5 s, and the pool connects again by itself.
 * Errors: PULSE_DATABASE_ROLE_UNSAFE, PULSE_DATABASE_UNAVAILABLE, PULSE_DATABASE_LOGIN_FAILED.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const database = new PostgresDatabase(options);
  try {
    await checkRole(database);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

async function checkRole(database: Database): Promise<void> {
  const { rows } = await database.query<{ name: string; bypasses: boolean; owns: string | null }>(`
    SELECT current_user AS name,
           EXISTS (SELECT FROM pg_roles r
                   WHERE (r.rolsuper OR r.rolbypassrls) AND pg_has_role(current_user, r.oid, 'MEMBER')) AS bypasses,
           (SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
              AND pg_has_role(current_user, c.relowner, 'MEMBER') LIMIT 1) AS owns`);
  const role = rows[0];
  if (role === undefined || (!role.bypasses && role.owns === null)) return;
  const reason = role.bypasses ? 'is a superuser or has BYPASSRLS' : `owns the table ${role.owns}`;
  throw databaseError(
    'PULSE_DATABASE_ROLE_UNSAFE',
    `The role ${role.name} ${reason}, by itself or as a member.`,
  );
}

const BIND = "SELECT set_config('pulse.tenants', $1, true)";

class PostgresDatabase implements Database {
  readonly #pool: Pool;

  constructor(options: DatabaseOptions) {
    this.#pool = new Pool({
      connectionString: options.url,
      application_name: options.applicationName,
      max: options.poolSize,
      connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
      idleTimeoutMillis: 60_000,
      statement_timeout: options.statementTimeoutMs,
      idle_in_transaction_session_timeout: options.statementTimeoutMs + 30_000,
      // For a server that is frozen or unreachable and so cannot keep its own limit.
      query_timeout: options.statementTimeoutMs + 5_000,
      keepAlive: true,
      // Idle connections alone do not keep a process alive.
      allowExitOnIdle: true,
      // Statements sent without awaiting the one before share a round trip.
      pipeline: true,
      types: { getTypeParser: typeParser },
    });
    // Without these listeners a connection that breaks while nobody uses it ends the process.
    const onError = (error: Error) => options.logger.warn({ err: error }, 'a database connection broke');
    this.#pool.on('error', onError);
    this.#pool.on('connect', (client) => client.on('error', () => {})); // The statement in hand fails with it.
  }

  withTenant<Result>(tenantId: string, work: (client: Queryable) => Promise<Result>): Promise<Result> {
    return this.withTenants([tenantId], work);
  }

  async withTenants<Result>(
    tenantIds: readonly string[],
    work: (client: Queryable) => Promise<Result>,
  ): Promise<Result> {
    const binding = bindingOf(tenantIds);
    const client = await this.#acquire();
    const transaction = new Transaction(client);
    let result: Result;
    try {
      // Both travel with the first statement of `work`. Should one of them fail, nothing after it takes effect: the transaction is
      // aborted, or no tenant is bound and row-level security lets nothing through.
      const begun = Promise.all([
        client.query('BEGIN'),
        client.query({ name: 'pulse_bind', text: BIND, values: [binding] }),
      ]);
      begun.catch(() => {}); // When `work` fails first, its own error is the one to report.
      result = await work(transaction);
      await begun;
    } catch (error) {
      transaction.end();
      await rollBack(client, error);
      throw translate(error);
    }
    transaction.end();
    await commit(client);
    return result;
  }

  async query<Row>(text: string, values?: readonly unknown[], options?: QueryOptions) {
    const client = await this.#acquire();
    try {
      const result = await send<Row>(client, text, values, options);
      release(client);
      return result;
    } catch (error) {
      release(client, isConnectionFailure(error));
      throw translate(error);
    }
  }

  async close(): Promise<void> {
    if (!this.#pool.ending) await this.#pool.end();
  }

  async #acquire(): Promise<PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      throw translate(error);
    }
  }
}

/** The part of a connection that `work` may use, for as long as its transaction lasts. */
class Transaction implements Queryable {
  #client: PoolClient | null;

  constructor(client: PoolClient) {
    this.#client = client;
  }

  async query<Row>(text: string, values?: readonly unknown[], options?: QueryOptions) {
    if (this.#client === null) {
      throw databaseError('PULSE_DATABASE_TRANSACTION_ENDED', `Sent too late: ${text.trim().slice(0, 80)}`);
    }
    return await send<Row>(this.#client, text, values, options);
  }

  end(): void {
    this.#client = null;
  }
}

async function send<Row>(
  client: PoolClient,
  text: string,
  values: readonly unknown[] = [],
  options: QueryOptions = {},
): Promise<{ readonly rows: Row[]; readonly rowCount: number }> {
  const config: QueryConfig = { text, values: values as unknown[] };
  if (options.name !== undefined) config.name = options.name;
  const result = await client.query<Row & Record<string, unknown>>(config);
  return { rows: result.rows, rowCount: result.rowCount ?? 0 };
}

async function commit(client: PoolClient): Promise<void> {
  let outcome: string;
  try {
    failpoint('database.before_commit');
    outcome = (await client.query('COMMIT')).command;
  } catch (error) {
    const isBroken = isConnectionFailure(error);
    release(client, isBroken);
    if (!isBroken) throw translate(error); // Refused by the server, for example by a deferred constraint: rolled back.
    throw databaseError('PULSE_DATABASE_COMMIT_UNKNOWN', `Postgres: ${(error as Error).message}.`, {
      cause: error,
    });
  }
  failpoint('database.committed');
  release(client);
  // Postgres answers COMMIT with ROLLBACK when a statement had failed; `work` must then have swallowed that error.
  if (outcome === 'ROLLBACK') {
    throw databaseError(
      'PULSE_DATABASE_ROLLED_BACK',
      'A statement had failed, and the work went on as if it had not.',
    );
  }
}

async function rollBack(client: PoolClient, reason: unknown): Promise<void> {
  if (isConnectionFailure(reason)) {
    release(client, true);
    return;
  }
  try {
    await client.query('ROLLBACK');
    release(client);
  } catch {
    release(client, true); // The server rolls back what a closed connection leaves; the first error is thrown on.
  }
}

/** Gives a connection back; one that is broken or not idle outside of any transaction is closed instead. */
function release(client: PoolClient, isBroken = false): void {
  client.release(isBroken || client.getTransactionStatus() !== 'I');
}

function bindingOf(tenantIds: readonly string[]): string {
  for (const tenantId of tenantIds) {
    if (!/^[a-z0-9_-]{1,63}$/.test(tenantId)) {
      throw databaseError(
        'PULSE_DATABASE_TENANT_INVALID',
        `'${tenantId.slice(0, 80)}' is no tenant id ([a-z0-9_-]{1,63}).`,
      );
    }
  }
  return tenantIds.join(',');
}

const INT8 = 20;

const typeParser = ((oid: number, format?: 'text' | 'binary') =>
  oid === INT8 && format !== 'binary'
    ? parseInt8
    : types.getTypeParser(oid, format as 'text')) as typeof types.getTypeParser;

function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new RangeError(`int8 ${text} is beyond 2^53 - 1: cast it to text in the query`);
  return value;
}
