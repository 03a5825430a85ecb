// What the rest of Pulse sees of Postgres. Tenant data is reached only through withTenant/withTenants.

/** How one statement is sent. */
export interface QueryOptions {
  /**
   * Prepares the statement under this name once per connection, and from then on sends only the values. For hot statements with one
   * fixed text per name; a second text under a known name is an error. Names: [a-z0-9_]{1,63}.
   */
  readonly name?: string;
}

/**
 * Runs parameterised SQL; never builds SQL from values.
 * Values read back: int8 becomes a number and is refused beyond 2^53 − 1 (cast it to text there); numeric stays text
 * (`sum(bigint)` is numeric: cast it to bigint); timestamptz becomes a Date; bytea a Buffer; json and jsonb are parsed
 * (cast to text to keep the bytes).
 */
export interface Queryable {
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number }>;
}

/**
 * A pool of connections of the role `pulse_app`, which owns nothing, is no superuser and cannot bypass row-level security.
 */
export interface Database {
  /**
   * One transaction bound to one tenant: BEGIN, set_config('pulse.tenants', …, true), work, COMMIT.
   * Guarantees: rows of other tenants can be neither read nor written; a thrown error rolls back and is thrown on; the
   * binding ends with the transaction, and so does the use of `client`. Statements sent without awaiting the one before
   * travel together, in order.
   * Errors: PULSE_DATABASE_UNAVAILABLE (retryable) when no connection can be had or it broke;
   * PULSE_DATABASE_COMMIT_UNKNOWN when the connection broke during COMMIT: read the position again before retrying;
   * PULSE_DATABASE_ROLLED_BACK when `work` returned although one of its statements had failed.
   * Cost: two round trips beyond the statements of `work` (the first statement shares that of BEGIN).
   */
  withTenant<Result>(tenantId: string, work: (client: Queryable) => Promise<Result>): Promise<Result>;
  /** As withTenant, bound to a set of tenants (a worker's micro-batch, an administrator's view). An empty set sees nothing. */
  withTenants<Result>(
    tenantIds: readonly string[],
    work: (client: Queryable) => Promise<Result>,
  ): Promise<Result>;
  /** One statement on platform tables (no tenant rows are visible). */
  query: Queryable['query'];
  close(): Promise<void>;
}
