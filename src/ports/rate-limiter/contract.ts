// The promise of the RateLimiter port as a test suite; every adapter runs it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RateLimit, RateLimiter } from './rate-limiter.ts';

/** A limiter under test and the time it lives in. */
interface RateLimiterHarness {
  readonly limiter: RateLimiter;
  /** Milliseconds; any origin. */
  now(): number;
  /** Lets time pass: a virtual clock moves, a real one waits. */
  advance(ms: number): Promise<void>;
}

export interface RateLimiterContractOptions {
  readonly name: string;
  readonly make: () => Promise<RateLimiterHarness>;
  /** Window for the tests: long for a virtual clock, short for a real one. */
  readonly windowMs: number;
  /** Calls of the randomised test. */
  readonly calls: number;
}

interface Grant {
  readonly atMs: number;
  readonly cost: number;
}

/** Registers the suite for one adapter. */
export function rateLimiterContract(options: RateLimiterContractOptions): void {
  const limit: RateLimit = { limit: 10, windowMs: options.windowMs };
  const withHarness = async (work: (harness: RateLimiterHarness) => Promise<void>): Promise<void> => {
    const harness = await options.make();
    try {
      await work(harness);
    } finally {
      await harness.limiter.close();
    }
  };

  describe(`RateLimiter contract: ${options.name}`, () => {
    test('allows up to the limit and says what is left', () =>
      withHarness(async ({ limiter }) => {
        assert.deepEqual(await limiter.consume('a', 4, limit), {
          allowed: true,
          remaining: 6,
          retryAfterMs: 0,
        });
        assert.deepEqual(await limiter.consume('a', 6, limit), {
          allowed: true,
          remaining: 0,
          retryAfterMs: 0,
        });
        assert.equal((await limiter.consume('a', 1, limit)).allowed, false);
      }));

    test('takes all units or none', () =>
      withHarness(async ({ limiter }) => {
        await limiter.consume('a', 8, limit);
        const refused = await limiter.consume('a', 3, limit);
        assert.equal(refused.allowed, false);
        assert.equal(refused.remaining, 2);
        assert.equal((await limiter.consume('a', 2, limit)).allowed, true);
      }));

    test('keeps keys apart', () =>
      withHarness(async ({ limiter }) => {
        await limiter.consume('a', 10, limit);
        assert.equal((await limiter.consume('b', 10, limit)).allowed, true);
      }));

    test('never allows a cost above the limit and names the window', () =>
      withHarness(async ({ limiter }) => {
        const fresh = await limiter.consume('a', 11, limit);
        assert.equal(fresh.allowed, false);
        assert.equal(fresh.retryAfterMs, limit.windowMs);
        await limiter.consume('a', 1, limit);
        assert.equal((await limiter.consume('a', 11, limit)).retryAfterMs, limit.windowMs);
      }));

    test('follows a limit that is changed between calls', () =>
      withHarness(async ({ limiter }) => {
        await limiter.consume('a', 10, limit);
        assert.equal((await limiter.consume('a', 5, { ...limit, limit: 15 })).allowed, true);
        assert.equal((await limiter.consume('a', 1, { ...limit, limit: 3 })).remaining, 0);
      }));

    test('is not over the limit with concurrent callers', () =>
      withHarness(async ({ limiter }) => {
        const answers = await Promise.all(
          Array.from({ length: 50 }, async () => await limiter.consume('a', 1, limit)),
        );
        assert.equal(answers.filter((answer) => answer.allowed).length, limit.limit);
      }));

    test('lets the same call succeed after retryAfterMs, which is at most a little more than the window', () =>
      withHarness(async (harness) => {
        await harness.limiter.consume('a', 6, limit);
        await harness.advance(limit.windowMs / 3);
        await harness.limiter.consume('a', 4, limit);
        for (const cost of [1, 6]) {
          const refused = await harness.limiter.consume('a', cost, limit);
          assert.equal(refused.allowed, false);
          assert.ok(refused.retryAfterMs > 0 && refused.retryAfterMs <= limit.windowMs * 1.1);
          await harness.advance(refused.retryAfterMs);
          assert.equal((await harness.limiter.consume('a', cost, limit)).allowed, true);
          await harness.advance(limit.windowMs * 1.1);
          await harness.limiter.consume('a', limit.limit, limit);
          await harness.advance(limit.windowMs / 3);
        }
      }));

    test('holds no more than the limit in any window under random calls, and retryAfterMs is true', () =>
      withHarness(async (harness) => {
        const seed = Number(process.env['PULSE_TEST_SEED'] ?? Date.now() % 1_000_000);
        const random = generator(seed);
        const grants: Grant[] = [];
        for (let call = 0; call < options.calls; call++) {
          const cost = 1 + Math.floor(random() * 5);
          const atMs = harness.now();
          const answer = await harness.limiter.consume('a', cost, limit);
          if (answer.allowed) grants.push({ atMs, cost });
          const waitMs =
            answer.allowed || random() < 0.5 ? (random() * limit.windowMs) / 4 : answer.retryAfterMs;
          await harness.advance(Math.ceil(waitMs));
          if (!answer.allowed && waitMs === answer.retryAfterMs) {
            const again = harness.now();
            const retried = await harness.limiter.consume('a', cost, limit);
            assert.equal(
              retried.allowed,
              true,
              `seed ${seed}: call ${call} was refused after retryAfterMs ${waitMs}`,
            );
            grants.push({ atMs: again, cost });
          }
        }
        assertWindows(grants, limit, seed);
      }));
  });
}

/** Every window that starts at a grant, the worst ones there are, holds at most the limit. */
function assertWindows(grants: readonly Grant[], limit: RateLimit, seed: number): void {
  assert.ok(grants.length > 0);
  for (const [first, start] of grants.entries()) {
    let units = 0;
    for (let i = first; i < grants.length; i++) {
      const grant = grants[i] as Grant;
      if (grant.atMs >= start.atMs + limit.windowMs) break;
      units += grant.cost;
    }
    assert.ok(
      units <= limit.limit,
      `seed ${seed}: the window from ${start.atMs} ms holds ${units} of ${limit.limit} units`,
    );
  }
}

/** A small repeatable generator (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
