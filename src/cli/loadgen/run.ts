// One load run: keeps the schedule, hands requests to free connections, counts answers.
// Open loop: request i is due at start + i / rate, whatever the server does; its latency counts from there, so a stall
// shows in every request that it delayed (no coordinated omission). Closed loop: each connection sends when it is free.
import { performance } from 'node:perf_hooks';
import { cliError } from '../errors.ts';
import { type Acceptance, parseCollectBody, problemCode, readAcceptance } from './answer.ts';
import { ConnectionPool } from './connection-pool.ts';
import type { ConnectionEnd, HttpConnection } from './http-connection.ts';
import { type LoadPlan, loadLimits } from './plan.ts';
import type { AcknowledgedEvent, Recorder } from './recorder.ts';
import { RequestSource, type Slot } from './source.ts';
import { type LoadReport, reportOf, Tally } from './tally.ts';

const tickMs = 1;
const progressMs = 1_000;
/** How long the first connections may take. */
const connectMsMax = 10_000;
/** Longest pause that a closed loop makes for a Retry-After. */
const pauseMsMax = 5_000;

const kindNames = [
  'event',
  'duplicate',
  'dead_letter',
] as const satisfies readonly AcknowledgedEvent['kind'][];

export interface Progress {
  readonly elapsedMs: number;
  readonly tally: Tally;
  readonly openConnections: number;
  /** Requests that are due and not sent yet. */
  readonly lateRequests: number;
}

export interface RunOptions {
  readonly recorder?: Recorder | undefined;
  /** Called about every second. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Ends sending early; the report covers what was sent. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs the plan to its end.
 * Guarantees: ends within `durationMs + drainMs` and the time to connect; every request sent is counted once: accepted,
 * rejected, throttled or unknown.
 * Errors: PULSE_CLI_UNREACHABLE when nothing listens at first, or when a connection breaks and the plan does not reconnect.
 */
export async function runLoad(plan: LoadPlan, options: RunOptions = {}): Promise<LoadReport> {
  return await new LoadRun(plan, options).run();
}

type Phase = 'connecting' | 'sending' | 'draining' | 'done';

class LoadRun {
  readonly #plan: LoadPlan;
  readonly #options: RunOptions;
  readonly #tally = new Tally();
  readonly #source: RequestSource;
  readonly #pool: ConnectionPool;
  readonly #slots: readonly Slot[];
  readonly #dueMs: Float64Array;
  readonly #acceptance: Acceptance = { accepted: 0, rejected: 0 };
  readonly #done = Promise.withResolvers<void>();
  #phase: Phase = 'connecting';
  #startMs = performance.now();
  #cpuBefore = process.cpuUsage();
  #endMs = 0;
  /** Requests of the schedule that were sent or missed. */
  #taken = 0;
  #missed = 0;
  #lastAnswerMs = 0;
  #failure: Error | null = null;

  constructor(plan: LoadPlan, options: RunOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#source = new RequestSource(plan, this.#tally);
    this.#slots = Array.from({ length: plan.connections }, (_, index) => this.#source.slot(index));
    this.#dueMs = new Float64Array(plan.connections);
    const url = new URL(plan.origin);
    this.#pool = new ConnectionPool({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 80),
      connections: plan.connections,
      requestTimeoutMs: plan.requestTimeoutMs,
      onFree: () => this.#send(),
      onAnswer: (connection, status, bytes, start, end) =>
        this.#answer(connection, status, bytes, start, end),
      onLost: (_, end, isError) => this.#lost(end, isError),
    });
  }

  async run(): Promise<LoadReport> {
    const stop = (): void => {
      this.#endMs = Math.min(this.#endMs, performance.now());
    };
    this.#pool.open();
    const ticker = setInterval(() => this.#tick(), tickMs);
    const reporter = setInterval(() => this.#progress(), progressMs);
    this.#options.signal?.addEventListener('abort', stop, { once: true });
    await this.#done.promise;
    const cpu = process.cpuUsage(this.#cpuBefore);
    clearInterval(ticker);
    clearInterval(reporter);
    this.#options.signal?.removeEventListener('abort', stop);
    const unsent =
      this.#missed + (this.#plan.rate === null ? 0 : Math.max(0, this.#dueCount() - this.#taken));
    // Whoever has not answered by now is given up.
    this.#tally.unknownRequests += this.#pool.busyCount;
    this.#pool.close();
    if (this.#failure !== null) throw this.#failure;
    return reportOf(this.#tally, {
      mode: this.#plan.rate === null ? 'closed' : 'open',
      targetRate: this.#plan.rate,
      connections: this.#plan.connections,
      tenants: this.#plan.tenants.length,
      batch: this.#plan.batch,
      seed: this.#plan.seed,
      elapsedMs: this.#lastAnswerMs - this.#startMs,
      unsent,
      cpuUs: cpu.user + cpu.system,
    });
  }

  /** Requests of the schedule that are due by now; all of them once the end has passed. */
  #dueCount(): number {
    const untilMs = Math.min(performance.now(), this.#endMs) - this.#startMs;
    // (start + duration) − start may be a hair below the duration, which would cost the last request.
    const due = Math.floor((untilMs * (this.#plan.rate as number)) / 1000 + 1e-6);
    return Math.min(this.#plan.requestsMax, due);
  }

  #tick(): void {
    const nowMs = performance.now();
    if (this.#phase === 'connecting') {
      this.#begin(nowMs);
      return;
    }
    if (this.#options.signal?.aborted === true) this.#endMs = Math.min(this.#endMs, nowMs);
    if (this.#phase === 'sending' && nowMs >= this.#endMs) this.#phase = 'draining';
    this.#send();
    if (this.#phase !== 'draining' && !this.#isSpent()) return;
    const isLate = this.#plan.rate !== null && this.#taken < this.#dueCount();
    if ((this.#pool.busyCount === 0 && !isLate) || nowMs >= this.#endMs + this.#plan.drainMs) this.#finish();
  }

  /** Starts the schedule once every connection is open, so that connecting is no part of any latency. */
  #begin(nowMs: number): void {
    if (this.#pool.openCount < this.#plan.connections && nowMs - this.#startMs < connectMsMax) return;
    if (this.#pool.openCount === 0) {
      this.#fail('no connection in time');
      return;
    }
    this.#phase = 'sending';
    this.#startMs = nowMs;
    this.#cpuBefore = process.cpuUsage();
    this.#lastAnswerMs = nowMs;
    this.#endMs = nowMs + Math.min(this.#plan.durationMs, loadLimits.durationSecondsMax * 1000);
    this.#send();
  }

  #isSpent(): boolean {
    return this.#taken >= this.#plan.requestsMax;
  }

  #send(): void {
    if (this.#phase === 'connecting' || this.#phase === 'done') return;
    if (this.#plan.rate === null) {
      this.#sendClosed();
      return;
    }
    const due = this.#dueCount();
    if (this.#pool.openCount === 0 && this.#taken < due) {
      // Nothing listens: a client would be refused at once. Waiting instead would flood the server when it is back.
      this.#missed += due - this.#taken;
      this.#taken = due;
      return;
    }
    while (this.#taken < due) {
      const connection = this.#pool.take();
      if (connection === null) return;
      this.#sendOn(connection, this.#startMs + (this.#taken * 1000) / this.#plan.rate);
    }
  }

  #sendClosed(): void {
    while (this.#phase === 'sending' && !this.#isSpent()) {
      const connection = this.#pool.take();
      if (connection === null) return;
      this.#sendOn(connection, performance.now());
    }
  }

  #sendOn(connection: HttpConnection, dueMs: number): void {
    const slot = this.#slots[connection.index] as Slot;
    this.#taken++;
    this.#dueMs[connection.index] = dueMs;
    const request = this.#source.next(slot, Date.now());
    this.#pool.send(connection, request, performance.now());
  }

  #answer(connection: HttpConnection, status: number, bytes: Buffer, start: number, end: number): void {
    const tally = this.#tally;
    const slot = this.#slots[connection.index] as Slot;
    this.#lastAnswerMs = performance.now();
    const latencyUs = (this.#lastAnswerMs - (this.#dueMs[connection.index] as number)) * 1000;
    tally.latency.record(latencyUs);
    tally.recent.record(latencyUs);
    tally.answers++;
    tally.countStatus(status);
    if (status >= 200 && status < 300) this.#accept(slot, bytes, start, end);
    else this.#reject(slot, status, bytes, start, end);
    const mayPause = this.#plan.rate === null && (status === 429 || status === 503);
    if (mayPause && connection.retryAfterMs > 0) {
      this.#pool.pause(connection, Math.min(pauseMsMax, connection.retryAfterMs));
    }
  }

  #accept(slot: Slot, bytes: Buffer, start: number, end: number): void {
    const tally = this.#tally;
    const acceptance = this.#acceptance;
    const isPlain = readAcceptance(bytes, start, end, acceptance) && acceptance.rejected === 0;
    tally.acceptedRequests++;
    this.#source.accepted(slot);
    if (isPlain && this.#options.recorder === undefined) {
      tally.acceptedEvents += acceptance.accepted;
      return;
    }
    const body = parseCollectBody(bytes, start, end);
    if (body === null) {
      tally.countCode('ANSWER_UNEXPECTED');
      return;
    }
    tally.acceptedEvents += body.accepted;
    tally.rejectedEvents += body.rejected;
    for (const error of body.errors) tally.countCode(error.code);
    const tenantId = this.#plan.tenants[slot.tenant]?.tenantId ?? '';
    for (const receipt of body.receipts) {
      this.#options.recorder?.write({
        tenant_id: tenantId,
        event_id: receipt.event_id,
        receipt_id: receipt.receipt_id,
        kind: kindNames[slot.kinds[receipt.index] ?? 0] ?? 'event',
      });
    }
  }

  #reject(slot: Slot, status: number, bytes: Buffer, start: number, end: number): void {
    const tally = this.#tally;
    tally.countCode(problemCode(status, bytes, start, end));
    if (status === 429) {
      tally.throttled++;
      return;
    }
    tally.rejectedRequests++;
    if (slot.isRefusal && status === 400) tally.expectedRefusals++;
  }

  #lost(end: ConnectionEnd, isError: boolean): void {
    if (end.hadRequest) this.#tally.unknownRequests++;
    if (!isError) return;
    this.#tally.connectionErrors++;
    this.#tally.countReason(end.reason);
    const isFirst = this.#phase === 'connecting';
    if (!this.#plan.reconnect && (isFirst || end.reason !== 'timeout')) this.#fail(end.reason);
  }

  #fail(reason: string): void {
    this.#failure ??= cliError(
      'PULSE_CLI_UNREACHABLE',
      `${this.#plan.origin}: ${reason}, after ${this.#tally.answers} answers. --reconnect goes on through restarts.`,
    );
    this.#finish();
  }

  #finish(): void {
    this.#phase = 'done';
    this.#done.resolve();
  }

  #progress(): void {
    if (this.#phase === 'connecting' || this.#options.onProgress === undefined) return;
    this.#options.onProgress({
      elapsedMs: performance.now() - this.#startMs,
      tally: this.#tally,
      openConnections: this.#pool.openCount,
      lateRequests: this.#plan.rate === null ? 0 : Math.max(0, this.#dueCount() - this.#taken),
    });
    this.#tally.recent.reset();
  }
}
