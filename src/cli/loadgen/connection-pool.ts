// The connections of a load run: opens them, opens them again when they end, gives up requests that take too long, and
// hands out free ones, the longest free first.
import { performance } from 'node:perf_hooks';
import { type ConnectionEnd, type ConnectionEvents, HttpConnection } from './http-connection.ts';

const reopenMsMin = 50;
const reopenMsMax = 500;
const sweepMs = 100;

export interface PoolOptions {
  readonly host: string;
  readonly port: number;
  readonly connections: number;
  readonly requestTimeoutMs: number;
  /** A connection became free. */
  readonly onFree: () => void;
  readonly onAnswer: ConnectionEvents['answer'];
  /** A connection ended by itself; `isError` is false for a keep-alive connection that the server let go between requests. */
  readonly onLost: (connection: HttpConnection, end: ConnectionEnd, isError: boolean) => void;
}

export class ConnectionPool implements ConnectionEvents {
  readonly #options: PoolOptions;
  readonly #connections: readonly HttpConnection[];
  readonly #sentMs: Float64Array;
  readonly #reopenMs: Float64Array;
  /** Free connections by index, a ring. An index is in it at most once: it enters when its one request ends. */
  readonly #ring: Int32Array;
  #first = 0;
  #freeCount = 0;
  #busyCount = 0;
  #openCount = 0;
  #isClosed = false;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: PoolOptions) {
    this.#options = options;
    const target = { host: options.host, port: options.port };
    this.#connections = Array.from(
      { length: options.connections },
      (_, index) => new HttpConnection(index, target, this),
    );
    this.#sentMs = new Float64Array(options.connections);
    this.#reopenMs = new Float64Array(options.connections).fill(reopenMsMin);
    this.#ring = new Int32Array(options.connections);
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs);
  }

  get openCount(): number {
    return this.#openCount;
  }

  get busyCount(): number {
    return this.#busyCount;
  }

  open(): void {
    for (const connection of this.#connections) connection.open();
  }

  /** The connection that has been free the longest, taken out of the pool; null when all are busy or closed. */
  take(): HttpConnection | null {
    while (this.#freeCount > 0) {
      const connection = this.#connections[this.#ring[this.#first] as number] as HttpConnection;
      this.#first = (this.#first + 1) % this.#ring.length;
      this.#freeCount--;
      if (connection.isOpen) return connection;
    }
    return null;
  }

  /** Sends on a connection that `take` gave; it comes back by itself after the answer. */
  send(connection: HttpConnection, request: Buffer, nowMs: number): void {
    this.#sentMs[connection.index] = nowMs;
    this.#busyCount++;
    connection.send(request);
  }

  /** Keeps a connection that has just answered out of the pool for a while. Call it inside `onAnswer`. */
  pause(connection: HttpConnection, ms: number): void {
    this.#pausedMs = ms;
    this.#paused = connection;
  }

  #paused: HttpConnection | null = null;
  #pausedMs = 0;

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const connection of this.#connections) connection.destroy('the run has ended');
  }

  ready(connection: HttpConnection): void {
    this.#openCount++;
    this.#reopenMs[connection.index] = reopenMsMin;
    this.#release(connection);
  }

  answer(connection: HttpConnection, status: number, bytes: Buffer, start: number, end: number): void {
    this.#busyCount--;
    this.#paused = null;
    this.#options.onAnswer(connection, status, bytes, start, end);
    if (!connection.isOpen) return;
    if (this.#paused === connection) this.#later(this.#pausedMs, () => this.#release(connection));
    else this.#release(connection);
  }

  closed(connection: HttpConnection, end: ConnectionEnd): void {
    if (end.wasOpen) this.#openCount--;
    if (end.hadRequest) this.#busyCount--;
    if (this.#isClosed) return;
    const isError = end.hadRequest || !end.wasOpen;
    this.#options.onLost(connection, end, isError);
    const waitMs = isError ? (this.#reopenMs[connection.index] as number) : 0;
    this.#reopenMs[connection.index] = Math.min(
      reopenMsMax,
      (this.#reopenMs[connection.index] as number) * 2,
    );
    this.#later(waitMs, () => connection.open());
  }

  #release(connection: HttpConnection): void {
    if (!connection.isOpen || this.#isClosed) return;
    this.#ring[(this.#first + this.#freeCount) % this.#ring.length] = connection.index;
    this.#freeCount++;
    this.#options.onFree();
  }

  #later(ms: number, work: () => void): void {
    if (this.#isClosed) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#isClosed) work();
    }, ms);
    this.#timers.add(timer);
  }

  #sweep(): void {
    const before = performance.now() - this.#options.requestTimeoutMs;
    for (const connection of this.#connections) {
      if (connection.isBusy && (this.#sentMs[connection.index] as number) < before)
        connection.destroy('timeout');
    }
  }
}
