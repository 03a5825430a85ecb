// Tenants, keys and principals as the other rooms see them.

export type Scope = 'ingest' | 'read' | 'admin';

/** How a tenant's client addresses are kept: whole, with the host part zeroed (/24, /48), or not at all. */
export type ClientAddressPolicy = 'keep' | 'truncate' | 'drop';

/** A lookup that enriches events: the value at `pointer` (JSON Pointer into the event) picks an entry of `values`. */
export interface Lookup {
  readonly name: string;
  readonly pointer: string;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Tenant {
  readonly tenantId: string;
  readonly name: string;
  readonly topics: 'shared' | 'dedicated';
  readonly status: 'active' | 'suspended';
  readonly limits: { readonly requestsPerMinute: number };
  readonly clientAddressPolicy: ClientAddressPolicy;
  readonly lookups: readonly Lookup[];
}

/** Who is calling. The administrator belongs to no tenant. */
export type Principal =
  | { readonly kind: 'admin' }
  | {
      readonly kind: 'key';
      readonly keyId: string;
      readonly tenantId: string;
      readonly scopes: readonly Scope[];
    };

export interface TopicNames {
  readonly raw: string;
  readonly valid: string;
  readonly dlq: string;
}

/**
 * Every tenant and live key, in memory, refreshed every second. Reading it costs no I/O, so accepting events goes on for
 * at most 10 minutes while Postgres is down.
 */
export interface Directory {
  /**
   * The principal of a presented credential; null when it is unknown, expired or revoked, or its tenant is suspended.
   * Errors: PULSE_TENANCY_DIRECTORY_STALE (503, retryable) when the directory is older than 10 minutes.
   */
  principal(credential: string): Principal | null;
  tenant(tenantId: string): Tenant | null;
  tenants(): readonly Tenant[];
  /** Topics of a tenant: the shared ones, or its own. */
  topics(tenantId: string): TopicNames;
  /** All topic sets in use: the shared one first, then one for each dedicated tenant. */
  topicSets(): readonly { readonly tenantId: string | null; readonly names: TopicNames }[];
  /** Reads the changes now; used after this process has changed a tenant or key itself. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}
