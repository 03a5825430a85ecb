// The units that one key took inside its window, counted in buckets.
import type { RateDecision } from '../rate-limiter.ts';

/** Buckets a window is cut into. 60 makes the window at most 1.7 % longer than asked. */
const bucketsPerWindow = 60;

/**
 * W1: a unit taken in bucket b, which ends at (b + 1) × width, counts until (b + 1) × width + buckets × width. That is
 * at least `windowMs` after the unit was taken, so any window's units are counted together at its last unit.
 */
export class SlidingWindow {
  readonly windowMs: number;
  readonly #widthMs: number;
  readonly #buckets: number;
  /** Ring of the buckets current − buckets … current. */
  readonly #units: Float64Array;
  #current: number;
  #lastUsed: number;
  #total: number;

  /** A window in which `units` were taken just now. */
  constructor(windowMs: number, nowMs: number, units: number) {
    this.windowMs = windowMs;
    this.#widthMs = Math.ceil(windowMs / bucketsPerWindow);
    this.#buckets = Math.ceil(windowMs / this.#widthMs);
    this.#units = new Float64Array(this.#buckets + 1);
    this.#current = Math.floor(nowMs / this.#widthMs);
    this.#lastUsed = this.#current;
    this.#units[this.#current % this.#units.length] = units;
    this.#total = units;
  }

  /** Lets go of the buckets that have left the window; returns the units still in it. */
  advance(nowMs: number): number {
    const bucket = Math.floor(nowMs / this.#widthMs);
    const length = this.#units.length;
    const steps = Math.min(bucket - this.#current, length);
    for (let step = 1; step <= steps; step++) {
      const slot = (this.#current + step) % length;
      this.#total -= this.#units[slot] as number;
      this.#units[slot] = 0;
    }
    this.#current = bucket;
    return this.#total;
  }

  /** Takes the units or none, see `RateLimiter.consume`. */
  consume(nowMs: number, cost: number, limit: number): RateDecision {
    const total = this.advance(nowMs);
    if (total + cost <= limit) {
      const slot = this.#current % this.#units.length;
      this.#units[slot] = (this.#units[slot] as number) + cost;
      this.#total = total + cost;
      this.#lastUsed = this.#current;
      return { allowed: true, remaining: limit - this.#total, retryAfterMs: 0 };
    }
    const remaining = Math.max(0, limit - total);
    const retryAfterMs = cost > limit ? this.windowMs : this.#waitMs(nowMs, total + cost - limit);
    return { allowed: false, remaining, retryAfterMs };
  }

  /** When the last unit leaves the window. */
  idleAtMs(): number {
    return this.#leavesAtMs(this.#lastUsed);
  }

  /** The wait until `excess` units have left, oldest first. */
  #waitMs(nowMs: number, excess: number): number {
    const length = this.#units.length;
    let left = 0;
    // The ring starts at the oldest bucket, right after the current one.
    let slot = (this.#current + 1) % length;
    for (let age = this.#buckets; age >= 0; age--) {
      left += this.#units[slot] as number;
      if (left >= excess) return Math.ceil(this.#leavesAtMs(this.#current - age) - nowMs);
      slot = slot + 1 === length ? 0 : slot + 1;
    }
    return this.windowMs + this.#widthMs;
  }

  #leavesAtMs(bucket: number): number {
    return (bucket + 1 + this.#buckets) * this.#widthMs;
  }
}
