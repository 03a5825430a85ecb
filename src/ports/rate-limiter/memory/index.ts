// The memory adapter of the RateLimiter port: exact inside one process, nothing shared between processes.
export { createMemoryRateLimiter } from './memory-rate-limiter.ts';
