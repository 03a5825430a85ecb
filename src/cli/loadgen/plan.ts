// What a load run is to do, with the limits that keep every run bounded.

/** Bounds of every load run, whatever the command line says. */
export const loadLimits = {
  durationSecondsMax: 3_600,
  rateMax: 200_000,
  connectionsMax: 4_096,
  tenantsMax: 10_000,
  batchMax: 10_000,
  eventBytesMax: 1_000_000,
  requestsMax: 500_000_000,
} as const;

export interface LoadTenant {
  readonly tenantId: string;
  /** API key with the scope to ingest. */
  readonly apiKey: string;
}

export interface LoadPlan {
  /** Origin of the server under load. */
  readonly origin: string;
  readonly tenants: readonly LoadTenant[];
  /** Requests per second of an open loop; null for a closed loop. */
  readonly rate: number | null;
  readonly connections: number;
  readonly durationMs: number;
  /** Sending ends after this many requests even when time is left. */
  readonly requestsMax: number;
  /** Events in each request. */
  readonly batch: number;
  /** About how many bytes one event has. */
  readonly eventBytes: number;
  /** Share of events (0 to 1) that carry the id of an earlier, acknowledged event of the same tenant. */
  readonly duplicates: number;
  /** Share of events or requests (0 to 1) that are malformed: half become dead letters, half are refused with 400. */
  readonly malformed: number;
  /** Every request carries its own Idempotency-Key. */
  readonly idempotencyKeys: boolean;
  readonly seed: number;
  /** Go on through connection errors: the server may be killed and started again. */
  readonly reconnect: boolean;
  /** A request without an answer for this long is given up and its connection closed. */
  readonly requestTimeoutMs: number;
  /** How long to wait, after the last send is due, for late sends and answers. */
  readonly drainMs: number;
}
