// The memory adapter of the RateLimiter port: exact inside one process, nothing shared between processes.
export { createMemoryRateLimiter, type MemoryRateLimiterOptions } from './memory-rate-limiter.ts';
