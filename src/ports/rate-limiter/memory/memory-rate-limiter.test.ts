// The memory adapter: the contract, and what is its own (bounded keys, steps of the clock, cost).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../../../core/clock.ts';
import { rateLimiterContract } from '../contract.ts';
import type { RateDecision, RateLimiter } from '../rate-limiter.ts';
import { createMemoryRateLimiter } from './index.ts';

const minute = { limit: 300, windowMs: 60_000 };

/** The memory adapter answers at once; the port also allows promises. */
function consume(limiter: RateLimiter, key: string, cost: number, limit = minute): RateDecision {
  const answer = limiter.consume(key, cost, limit);
  assert.ok(!(answer instanceof Promise));
  return answer;
}

for (const windowMs of [60_000, 1_000, 37]) {
  rateLimiterContract({
    name: `memory, window ${windowMs} ms`,
    windowMs,
    calls: 3_000,
    make: async () => {
      const clock = new ManualClock();
      return {
        limiter: createMemoryRateLimiter({ clock }),
        now: () => clock.now(),
        advance: async (ms) => clock.advance(Math.ceil(ms)),
      };
    },
  });
}

describe('MemoryRateLimiter', () => {
  test('refuses a new key while all keys are busy and takes it when retryAfterMs has passed', () => {
    const clock = new ManualClock();
    const limiter = createMemoryRateLimiter({ clock, keysMax: 3 });
    for (const key of ['a', 'b', 'c']) {
      assert.equal(consume(limiter, key, 1).allowed, true);
      clock.advance(5_000);
    }
    const refused = consume(limiter, 'd', 1);
    assert.equal(refused.allowed, false);
    assert.ok(refused.retryAfterMs > 40_000 && refused.retryAfterMs <= 61_000);
    clock.advance(refused.retryAfterMs);
    assert.equal(consume(limiter, 'd', 1).allowed, true);
  });

  test('grants a key no second limit when a flood of other keys passes by', () => {
    const clock = new ManualClock();
    const limiter = createMemoryRateLimiter({ clock, keysMax: 100 });
    assert.equal(consume(limiter, 'spent', 300).allowed, true);
    for (let i = 0; i < 10_000; i++) consume(limiter, `flood-${i}`, 1);
    assert.equal(consume(limiter, 'spent', 1).allowed, false);
  });

  test('forgets idle keys, so the table does not grow with keys seen', () => {
    const clock = new ManualClock();
    const limiter = createMemoryRateLimiter({ clock, keysMax: 2_000 });
    for (let i = 0; i < 20_000; i++) {
      assert.equal(consume(limiter, `key-${i}`, 1).allowed, true, `key ${i} found no room`);
      clock.advance(50);
    }
  });

  test('keeps limiting when the clock steps back, and frees units when it goes on', () => {
    const clock = new ManualClock();
    const limiter = createMemoryRateLimiter({ clock });
    consume(limiter, 'a', 300);
    clock.advance(-3_600_000);
    assert.equal(consume(limiter, 'a', 1).allowed, false);
    clock.advance(61_000);
    assert.equal(consume(limiter, 'a', 300).allowed, true);
  });

  test('counts units already taken when the window of a key changes', () => {
    const limiter = createMemoryRateLimiter({ clock: new ManualClock() });
    consume(limiter, 'a', 300);
    assert.equal(consume(limiter, 'a', 1, { limit: 300, windowMs: 1_000 }).allowed, false);
  });

  test('refuses costs and limits that are no numbers it can count', () => {
    const limiter = createMemoryRateLimiter({ clock: new ManualClock() });
    for (const cost of [0, -1, Number.NaN]) assert.throws(() => consume(limiter, 'a', cost), RangeError);
    assert.throws(() => consume(limiter, 'a', 1, { limit: Number.NaN, windowMs: 1_000 }), RangeError);
    assert.equal(consume(limiter, 'a', 1, { limit: 0, windowMs: 1_000 }).allowed, false);
  });
});
