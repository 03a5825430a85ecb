// The RateLimiter port: how much a key may consume inside a sliding window.

export interface RateLimit {
  /** Units allowed in any window of `windowMs`. */
  readonly limit: number;
  readonly windowMs: number;
}

export interface RateDecision {
  readonly allowed: boolean;
  /** Units left in the window after this call; >= 0. */
  readonly remaining: number;
  /** When `allowed` is false: ms until the same call can succeed; 0 otherwise. Never too short. */
  readonly retryAfterMs: number;
}

export interface RateLimiter {
  /**
   * Takes `cost` units for the key, or none.
   * Guarantees: no window of `windowMs`, wherever it starts, holds more than `limit` units, across concurrent callers.
   * Units: 1 <= cost; a cost above the limit is never allowed, and its retryAfterMs is the window.
   */
  consume(key: string, cost: number, limit: RateLimit): RateDecision | Promise<RateDecision>;
  close(): Promise<void>;
}
