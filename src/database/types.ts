// What the rest of Pulse sees of Postgres. Tenant data is reached only through withTenant/withTenants.

/** Runs parameterised SQL; never builds SQL from values. */
export interface Queryable {
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number }>;
}

/**
 * A pool of connections of the role `pulse_app`, which owns nothing, is no superuser and cannot bypass row-level security.
 */
export interface Database {
  /**
   * One transaction bound to one tenant: BEGIN, set_config('pulse.tenants', …, true), work, COMMIT.
   * Guarantees: rows of other tenants can be neither read nor written; a thrown error rolls back and is thrown on; the
   * binding ends with the transaction.
   * Errors: PULSE_DATABASE_UNAVAILABLE (retryable) when no connection can be had or it broke;
   * PULSE_DATABASE_COMMIT_UNKNOWN when the connection broke during COMMIT: read the position again before retrying.
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
