// Collect: events in over HTTP, 202 once they are durable. Plain node:http, because this is the path that every event takes.

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { eventBytesMax } from '../core/envelope.ts';
import { PulseError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import { internalError } from '../core/problem.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import type { RateLimiter } from '../ports/rate-limiter/rate-limiter.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Directory, Principal } from '../tenancy/types.ts';
import { type CollectSettings, parseAddressList } from './config.ts';
import { ClientGone, collectError } from './errors.ts';
import { collectPathOf, Exchange, givenRequestId, newRequestId } from './exchange.ts';
import { Gate } from './gate.ts';
import { type Entry, IdempotencyMemory } from './idempotency.ts';
import { collectMetrics, countRefused, counts } from './metrics.ts';
import type { SplitBody } from './protocols/split.ts';
import { rebuildIdempotency } from './rebuild-idempotency.ts';
import { answerProblem, answerReceipts } from './steps/answer.ts';
import { append, hasStoredNothing, type RawTopic } from './steps/append.ts';
import { authenticateTenant } from './steps/authenticate.ts';
import { buildRecords, eventIds } from './steps/build-records.ts';
import { contentCoding, Decompressor } from './steps/decompress.ts';
import { announceLimit, limit } from './steps/limit.ts';
import { BodyReader, checkLength } from './steps/read-body.ts';
import { fingerprint, idempotencyKeyOf } from './steps/remember.ts';
import { bodyKind, splitBody } from './steps/split-body.ts';

interface CollectDependencies {
  readonly log: EventLog;
  readonly directory: Directory;
  /** The principal of a request. Errors: 401 without a valid credential. */
  readonly authenticate: (headers: IncomingHttpHeaders) => Principal;
  readonly limiter: RateLimiter;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: CollectSettings;
  /** The raw topic of a tenant; cached by the caller. */
  readonly rawTopic: (tenantId: string) => RawTopic | Promise<RawTopic>;
}

interface CollectStatus {
  readonly inFlightRequests: number;
  readonly inFlightBytes: number;
  readonly isDraining: boolean;
  readonly idempotencyKeys: number;
  /** How far back Idempotency-Keys are remembered. */
  readonly idempotencyHorizonMs: number;
}

export interface Collect {
  /** Takes the request when its path is one of collect's; false otherwise, and nothing has happened then. */
  handle(request: IncomingMessage, response: ServerResponse): boolean;
  /** Remembers the Idempotency-Keys of the last half hour again, from the log. Call before the first request. */
  start(): Promise<void>;
  /** Refuses new requests with 503 and waits for those under way. Safe to call twice. */
  drain(): Promise<void>;
  status(): CollectStatus;
}

/**
 * Makes collect.
 * Guarantees: a 202 is sent only after every event of the request is durable; a refused request has stored nothing,
 * except after PULSE_LOG_FAILED and PULSE_LOG_DISK_FULL, where that is unknown; no error escapes to the server.
 */
export function createCollect(dependencies: CollectDependencies): Collect {
  return new HttpCollect(dependencies);
}

class HttpCollect implements Collect {
  readonly #dependencies: CollectDependencies;
  readonly #gate: Gate;
  readonly #bodies: BodyReader;
  readonly #decompressor = new Decompressor();
  readonly #memory: IdempotencyMemory;
  readonly #proxies: BlockList | null;

  constructor(dependencies: CollectDependencies) {
    const { settings } = dependencies;
    this.#dependencies = dependencies;
    this.#gate = new Gate({
      requestsMax: settings.PULSE_COLLECT_REQUESTS_MAX,
      bytesMax: settings.PULSE_COLLECT_BODIES_BYTES_MAX,
    });
    this.#bodies = new BodyReader(this.#gate, settings.PULSE_COLLECT_BODY_TIMEOUT_MS);
    this.#memory = new IdempotencyMemory({
      ttlMs: settings.PULSE_COLLECT_IDEMPOTENCY_TTL_MS,
      entriesMax: settings.PULSE_COLLECT_IDEMPOTENCY_ENTRIES_MAX,
      bytesMax: settings.PULSE_COLLECT_IDEMPOTENCY_BYTES_MAX,
    });
    const proxies = settings.PULSE_COLLECT_TRUSTED_PROXIES;
    this.#proxies = proxies === '' ? null : parseAddressList(proxies);
    counts.inFlightRequests = () => this.#gate.requests;
    counts.inFlightBytes = () => this.#gate.bytes;
    counts.rememberedKeys = () => this.#memory.size;
    counts.idempotencyHorizonMs = () => this.#memory.horizonMs;
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    const path = collectPathOf(request.url);
    if (path === null) return false;
    const requestId = givenRequestId(request.headers['x-request-id']) ?? newRequestId();
    const exchange = new Exchange(request, response, path, requestId, performance.now());
    if (request.method !== 'POST') {
      const detail = `${request.method} ${path} is not possible.`;
      this.#refuse(exchange, collectError('PULSE_COLLECT_METHOD_NOT_ALLOWED', detail), 'POST');
      return true;
    }
    const refusal = this.#gate.refusal();
    if (refusal !== null) this.#refuse(exchange, refusal);
    else void this.#serve(exchange);
    return true;
  }

  async start(): Promise<void> {
    const { log, directory, clock, logger, settings, rawTopic } = this.#dependencies;
    await rebuildIdempotency({
      log,
      directory,
      rawTopic,
      logger,
      memory: this.#memory,
      nowMs: clock.now(),
      ttlMs: settings.PULSE_COLLECT_IDEMPOTENCY_TTL_MS,
      recordsMax: settings.PULSE_COLLECT_IDEMPOTENCY_ENTRIES_MAX,
      bytesMax: settings.PULSE_COLLECT_IDEMPOTENCY_REBUILD_BYTES_MAX,
    });
  }

  async drain(): Promise<void> {
    await this.#gate.drain();
    this.#bodies.close();
  }

  status(): CollectStatus {
    return {
      inFlightRequests: this.#gate.requests,
      inFlightBytes: this.#gate.bytes,
      isDraining: this.#gate.draining,
      idempotencyKeys: this.#memory.size,
      idempotencyHorizonMs: this.#memory.horizonMs,
    };
  }

  /**
   * One request, step by step, from the gate to its answer. Never rejects. Cheap refusals come first; the answer comes
   * only after the append. One function on purpose: each further async call costs this path 0.4 µs and 400 bytes.
   */
  async #serve(exchange: Exchange): Promise<void> {
    const { authenticate, directory, limiter, clock, log, rawTopic } = this.#dependencies;
    let entry: Entry | null = null;
    this.#gate.enter();
    try {
      const tenant = authenticateTenant(exchange.headers, authenticate, directory);
      exchange.tenant = tenant;
      failpoint('collect.authenticated');
      announceLimit(exchange, tenant);
      const bytesMax = this.#bodyBytesMax(exchange);
      checkLength(exchange, bytesMax);
      const limited = limit(exchange, tenant, limiter);
      if (limited !== undefined) await limited;
      const coding = contentCoding(exchange.headers['content-encoding']);
      const kind = bodyKind(exchange);
      const key = idempotencyKeyOf(exchange.headers['idempotency-key']);

      let body = await this.#bodies.read(exchange, bytesMax);
      failpoint('collect.body_read');
      if (coding !== null) body = await this.#unpack(exchange, body, coding, bytesMax);
      const nowMs = clock.now();
      const keyed = key === null ? null : { key, hash: fingerprint(exchange, kind, body) };
      const begun = keyed === null ? null : this.#memory.begin(tenant.tenantId, keyed.key, keyed.hash, nowMs);
      if (begun?.kind === 'first') {
        entry = begun.entry;
        failpoint('collect.key_begun');
      }
      const split = splitBody(
        exchange,
        kind,
        body,
        this.#dependencies.settings.PULSE_COLLECT_BATCH_EVENTS_MAX,
      );
      const ids = eventIds(split, tenant.tenantId, key, nowMs);
      if (begun?.kind === 'replay') {
        answerReceipts(exchange, split, ids, begun.places, true);
        counts.replays++;
      } else {
        const raw = await rawTopic(tenant.tenantId);
        const context = {
          exchange,
          tenant,
          keyed,
          nowMs,
          proxies: this.#proxies,
          partitions: raw.partitions,
        };
        failpoint('collect.before_append');
        const places = await append(log, raw, buildRecords(split, ids, context));
        failpoint('collect.appended');
        countAccepted(split);
        if (entry !== null) {
          this.#memory.stored(entry, places);
          entry = null;
          failpoint('collect.key_stored');
        }
        answerReceipts(exchange, split, ids, places, false);
      }
      failpoint('collect.answered');
      counts.answers[2]! += 1;
      collectMetrics.requestSeconds.add((performance.now() - exchange.startedMs) / 1000);
    } catch (error) {
      if (entry !== null) this.#forget(entry, error);
      this.#refuse(exchange, error);
    } finally {
      this.#gate.leave(exchange.reservedBytes);
    }
  }

  #bodyBytesMax(exchange: Exchange): number {
    const { PULSE_COLLECT_BATCH_BYTES_MAX } = this.#dependencies.settings;
    return exchange.path === '/events' ? eventBytesMax : PULSE_COLLECT_BATCH_BYTES_MAX;
  }

  async #unpack(exchange: Exchange, body: Buffer, coding: string, bytesMax: number): Promise<Buffer> {
    const unpacked = await this.#decompressor.unpack(body, coding, bytesMax);
    this.#gate.reserve(unpacked.length);
    exchange.reservedBytes += unpacked.length;
    return unpacked;
  }

  /** A refusal before the append, or one that stored nothing, frees the key; after any other it stays in doubt. */
  #forget(entry: Entry, error: unknown): void {
    const isRefusal = error instanceof PulseError && error.code.startsWith('PULSE_COLLECT_');
    if (isRefusal || (error instanceof PulseError && hasStoredNothing(error.code)))
      this.#memory.failed(entry);
    else this.#memory.doubtful(entry);
  }

  #refuse(exchange: Exchange, error: unknown, allow?: string): void {
    if (error instanceof ClientGone) {
      counts.gone++;
      return;
    }
    const known = error instanceof PulseError ? error : internalError(error);
    const { logger } = this.#dependencies;
    const facts = { request_id: exchange.requestId, tenant: exchange.tenant?.tenantId, code: known.code };
    if (known.status === 500) logger.error({ ...facts, err: error }, 'collect failed');
    else if (known.code.startsWith('PULSE_LOG_'))
      logger.warn({ ...facts, err: error }, 'the log refused events');
    // Not the detail: it may repeat what the client has sent.
    else logger.debug(facts, 'collect refused a request');
    counts.answers[Math.floor(known.status / 100)]! += 1;
    countRefused(known.code);
    answerProblem(exchange, known, allow);
    collectMetrics.requestSeconds.add((performance.now() - exchange.startedMs) / 1000);
  }
}

function countAccepted(split: SplitBody): void {
  counts.events += split.events.length;
  for (const event of split.events) counts.eventBytes += event.value.length;
  for (const refused of split.errors) countRefused(refused.code);
}
