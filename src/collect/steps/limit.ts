// Step: the sliding-window limit of the tenant. One request costs one unit, however many events it holds.
import type { RateDecision, RateLimit, RateLimiter } from '../../ports/rate-limiter/rate-limiter.ts';
import type { Tenant } from '../../tenancy/types.ts';
import { collectError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';

const windowMs = 60_000;
const windowSeconds = windowMs / 1000;

interface Policy {
  readonly limit: RateLimit;
  /** `RateLimit-Policy`, the same for all tenants with this limit. */
  readonly header: string;
}

// One entry per limit in use. Limits are set by administrators, so there are few; the bound is for the day one scripts them.
const policies = new Map<number, Policy>();
const policiesMax = 1_000;

function policyOf(requestsPerMinute: number): Policy {
  let policy = policies.get(requestsPerMinute);
  if (policy === undefined) {
    if (policies.size >= policiesMax) policies.clear();
    const limit = { limit: requestsPerMinute, windowMs };
    policy = { limit, header: `"default";q=${requestsPerMinute};w=${windowSeconds}` };
    policies.set(requestsPerMinute, policy);
  }
  return policy;
}

/** Tells the answer which policy counts, before anything is taken. */
export function announceLimit(exchange: Exchange, tenant: Tenant): void {
  exchange.rateLimitPolicy = policyOf(tenant.limits.requestsPerMinute).header;
}

/**
 * Takes one request from the tenant's window.
 * Shape: a promise only when the limiter answers with one, so that the local limiter costs no turn of the event loop.
 * Errors: PULSE_COLLECT_RATE_LIMITED with `Retry-After`.
 * Source: draft-ietf-httpapi-ratelimit-headers-10.
 */
export function limit(exchange: Exchange, tenant: Tenant, limiter: RateLimiter): void | Promise<void> {
  const policy = policyOf(tenant.limits.requestsPerMinute);
  const decision = limiter.consume(tenant.tenantId, 1, policy.limit);
  if (decision instanceof Promise) return decision.then((decided) => obey(exchange, tenant, decided));
  obey(exchange, tenant, decision);
}

function obey(exchange: Exchange, tenant: Tenant, decision: RateDecision): void {
  if (decision.allowed) {
    // A sliding window has no moment of reset: after a whole window all of it is free again.
    exchange.rateLimit = `"default";r=${decision.remaining};t=${windowSeconds}`;
    return;
  }
  const seconds = Math.max(1, Math.ceil(decision.retryAfterMs / 1000));
  exchange.rateLimit = `"default";r=${decision.remaining};t=${seconds}`;
  throw collectError(
    'PULSE_COLLECT_RATE_LIMITED',
    `The tenant ${tenant.tenantId} has sent ${tenant.limits.requestsPerMinute} requests within ${windowSeconds} s.`,
    { retryAfterMs: seconds * 1000 },
  );
}
