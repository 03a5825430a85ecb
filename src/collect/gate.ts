// What all requests together may hold: how many, and how many bytes of bodies. Beyond it new ones are shed at once.
import { collectError } from './errors.ts';

export interface GateLimits {
  readonly requestsMax: number;
  readonly bytesMax: number;
}

/** Counts requests and bytes in hand. Shedding early keeps the latency of what was admitted. */
export class Gate {
  readonly #limits: GateLimits;
  #requests = 0;
  #bytes = 0;
  #draining = false;
  #idle: (() => void)[] = [];

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  get requests(): number {
    return this.#requests;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Why a request may not come in, or null.
   * Shape: a value and not an exception, because a flood of refusals must stay cheap.
   */
  refusal(): Error | null {
    if (this.#draining) return collectError('PULSE_COLLECT_DRAINING', 'This process is stopping.');
    if (this.#requests < this.#limits.requestsMax) return null;
    return collectError(
      'PULSE_COLLECT_OVERLOADED',
      `${this.#requests} requests are in hand; ${this.#limits.requestsMax} are allowed.`,
      { retryAfterMs: 1_000 },
    );
  }

  enter(): void {
    this.#requests++;
  }

  /** Errors: PULSE_COLLECT_OVERLOADED when the bytes do not fit beside those in hand. */
  reserve(bytes: number): void {
    if (this.#bytes + bytes > this.#limits.bytesMax) {
      throw collectError(
        'PULSE_COLLECT_OVERLOADED',
        `${this.#bytes} bytes of bodies are in hand; ${this.#limits.bytesMax} are allowed.`,
        { retryAfterMs: 1_000 },
      );
    }
    this.#bytes += bytes;
  }

  /** Ends a request and gives its bytes back. */
  leave(bytes: number): void {
    this.#bytes -= bytes;
    this.#requests--;
    if (this.#requests > 0 || this.#idle.length === 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }

  /** Lets nobody in from now on; resolves when the last one has left. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#requests === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }
}
