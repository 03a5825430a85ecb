// A store on real parts for the tests of this room: an embedded log in a temp folder, a fresh database, tenants by hand.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, type TestScope, testDatabase } from '../../../tests/support/database.ts';
import { ManualClock } from '../../core/clock.ts';
import { type Envelope, header } from '../../core/envelope.ts';
import { formatPosition, type Position } from '../../core/position.ts';
import { readSettings } from '../../core/settings.ts';
import { epochOf } from '../../database/epochs.ts';
import type { Database } from '../../database/types.ts';
import { createEmbeddedEventLog } from '../../ports/event-log/embedded/index.ts';
import type { EventLog } from '../../ports/event-log/event-log.ts';
import type { Directory, Principal, Tenant, TopicNames } from '../../tenancy/types.ts';
import { storeSettings } from '../config.ts';
import { createStore, type Store } from '../store.ts';

export const topics: TopicNames = { raw: 'events.raw', valid: 'events.valid', dlq: 'events.dlq' };

/** Where all tests of this room begin. */
export const startMs = Date.UTC(2026, 2, 1, 10, 0, 0);

/** The key of a tenant: its id, in the form that keys have. */
export function keyOf(tenantId: string): string {
  return `pk_${tenantId.padEnd(43, '.')}`;
}

/** Tenants in memory, each with one key that may read. */
class HandMadeDirectory implements Directory {
  readonly #tenants = new Map<string, Tenant>();

  add(tenantId: string, kind: Tenant['topics'] = 'shared'): void {
    this.#tenants.set(tenantId, {
      tenantId,
      name: tenantId,
      topics: kind,
      status: 'active',
      limits: { requestsPerMinute: 300 },
      clientAddressPolicy: 'keep',
      lookups: [],
    });
  }

  remove(tenantId: string): void {
    this.#tenants.delete(tenantId);
  }

  principal(credential: string): Principal | null {
    const tenantId = credential.slice('pk_'.length).replace(/\.+$/, '');
    if (!this.#tenants.has(tenantId)) return null;
    return { kind: 'key', keyId: `key_${tenantId}`, tenantId, scopes: ['read'] };
  }

  tenant(tenantId: string): Tenant | null {
    return this.#tenants.get(tenantId) ?? null;
  }

  tenants(): readonly Tenant[] {
    return [...this.#tenants.values()];
  }

  topics(tenantId: string): TopicNames {
    if (this.#tenants.get(tenantId)?.topics !== 'dedicated') return topics;
    const prefix = `${tenantId}.events`;
    return { raw: `${prefix}.raw`, valid: `${prefix}.valid`, dlq: `${prefix}.dlq` };
  }

  topicSets(): readonly { readonly tenantId: string | null; readonly names: TopicNames }[] {
    const own = this.tenants().filter((tenant) => tenant.topics === 'dedicated');
    return [
      { tenantId: null, names: topics },
      ...own.map(({ tenantId }) => ({ tenantId, names: this.topics(tenantId) })),
    ];
  }

  async refresh(): Promise<void> {}

  async close(): Promise<void> {}
}

/** One event to put into the valid topic. */
export interface Given {
  readonly tenantId?: string;
  readonly partition?: number;
  /** Raw offset; by default the one behind the last of its partition. */
  readonly offset?: number;
  readonly previous?: Position | null;
  readonly epoch?: number;
  readonly eventId?: string;
  readonly eventType?: string;
  readonly receivedAtMs?: number;
  readonly envelope?: Partial<Envelope>;
  /** JSON text, so that it may hold what JavaScript cannot. */
  readonly dataText?: string;
  /** Replaces the whole value. */
  readonly value?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Harness {
  readonly database: Database;
  readonly ownerUrl: string;
  readonly appUrl: string;
  readonly log: EventLog;
  readonly directory: HandMadeDirectory;
  readonly clock: ManualClock;
  readonly epoch: number;
  readonly logDirectory: string;
  /** Writes valid records as process would: each names the one before it in its partition. Returns their positions. */
  give(events: readonly Given[], names?: TopicNames): Promise<Position[]>;
  /** A store that is stopped when the test ends. */
  startStore(environment?: Record<string, string>, database?: Database): Promise<Store>;
  /** Counts rows as `tenantIds` see them. */
  count(table: string, ...tenantIds: string[]): Promise<number>;
}

/** Everything a test of this room needs, with tenants `acme` and `globex`. */
export async function harness(t: TestScope, options: { partitions?: number } = {}): Promise<Harness> {
  const { database, ownerUrl, appUrl } = await testDatabase(t);
  const logDirectory = await mkdtemp(join(tmpdir(), 'pulse-store-'));
  const log = await createEmbeddedEventLog({
    directory: logDirectory,
    logger: silentLogger,
    settings: { PULSE_LOG_SEGMENT_BYTES_MIN: 65_536, PULSE_LOG_COMMIT_SYNC_MS: 0 },
  });
  t.after(async () => {
    await log.close();
    await rm(logDirectory, { recursive: true, force: true });
  });
  const directory = new HandMadeDirectory();
  directory.add('acme');
  directory.add('globex');
  const partitions = options.partitions ?? 2;
  for (const topic of Object.values(topics)) {
    await log.createTopic(topic, { partitions, retentionMs: 0, retentionBytes: 0 });
  }
  const raw = await log.describeTopic(topics.raw);
  const epoch = await epochOf(database, raw as NonNullable<typeof raw>);
  const clock = new ManualClock(startMs);
  const last = new Map<string, Position>();

  async function give(events: readonly Given[], names: TopicNames = topics): Promise<Position[]> {
    const positions: Position[] = [];
    const records = events.map((event) => {
      const place = `${names.valid}/${event.partition ?? 0}`;
      const before = last.get(place) ?? null;
      const source = {
        epoch: event.epoch ?? epoch,
        partition: event.partition ?? 0,
        offset: event.offset ?? (before?.offset ?? -1) + 1,
      };
      last.set(place, source);
      positions.push(source);
      return record(event, source, event.previous === undefined ? before : event.previous);
    });
    await log.append(names.valid, records);
    return positions;
  }

  return {
    database,
    ownerUrl,
    appUrl,
    log,
    directory,
    clock,
    epoch,
    logDirectory,
    give,
    async startStore(environment = {}, on = database) {
      const settings = readSettings(storeSettings, environment);
      const store = createStore({ database: on, log, directory, clock, logger: silentLogger, settings });
      await store.start();
      t.after(() => store.stop());
      return store;
    },
    async count(table, ...tenantIds) {
      const { rows } = await database.withTenants(tenantIds, (client) =>
        client.query<{ n: number }>(`SELECT count(*) AS n FROM ${table}`),
      );
      return rows[0]?.n ?? 0;
    },
  };
}

function record(event: Given, source: Position, previous: Position | null) {
  const receivedAt = new Date(event.receivedAtMs ?? startMs).toISOString();
  const tenantId = event.tenantId ?? 'acme';
  const eventId = event.eventId ?? `event-${source.partition}-${source.offset}`;
  const eventType = event.eventType ?? 'trip.finished';
  const envelope: Omit<Envelope, 'data'> = {
    event_id: eventId,
    tenant_id: tenantId,
    event_type: eventType,
    event_time: receivedAt,
    received_at: receivedAt,
    schema_version: null,
    subject: null,
    source: null,
    idempotency_key: null,
    request_id: null,
    protocol: 'native',
    attempt: 1,
    trace_id: null,
    enrichment: { delay_ms: 0 },
    ...event.envelope,
  };
  const value = event.value ?? `${JSON.stringify(envelope).slice(0, -1)},"data":${event.dataText ?? '{}'}}`;
  const headers: Record<string, string> = {
    [header.id]: eventId,
    [header.type]: eventType,
    [header.tenant]: tenantId,
    [header.receivedAt]: receivedAt,
    [header.sourcePosition]: formatPosition(source),
    ...event.headers,
  };
  if (previous !== null) headers[header.previousPosition] = formatPosition(previous);
  return { partition: source.partition, key: null, headers, value: Buffer.from(value) };
}

/** Waits until the condition holds; fails after `timeoutMs`. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`still not so after ${timeoutMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
