// What dead letters of one cause have in common, so that they are shown and repaired as one group.
import { hash } from 'node:crypto';
import type { Failure } from '../../core/outcome.ts';

/**
 * Equal for dead letters of equal code, stage and event type whose failures break the same rules at the same places;
 * `/items/3/price` and `/items/7/price` are one place. Messages do not count: they hold values.
 * Shape: 22 characters of base64url.
 */
export function fingerprintOf(cause: {
  readonly code: string;
  readonly stage: string;
  readonly eventType: string | null;
  readonly failures: readonly Failure[];
}): string {
  const places = new Set(cause.failures.map(({ pointer, rule }) => `${generalise(pointer)} ${rule}`));
  const text = JSON.stringify([cause.code, cause.stage, cause.eventType, [...places].sort()]);
  return hash('sha256', text, 'buffer').toString('base64url', 0, 16).slice(0, 22);
}

function generalise(pointer: string): string {
  return pointer.replaceAll(/\/\d+(?=\/|$)/g, '/*');
}
