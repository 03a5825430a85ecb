// What may be said about a key: the fields of `POST /v1/tenants/{tenant_id}/keys`.
import { formatTime, parseTime } from '../core/time.ts';
import { InputObject, shown } from './input.ts';
import type { Scope } from './types.ts';

const scopes: readonly Scope[] = ['ingest', 'read', 'admin'];

/** A key to create. */
export interface NewKey {
  readonly name: string;
  /** At least one, each once, in the order of `scopes`. */
  readonly scopes: readonly Scope[];
  /** Null for a key that does not expire. */
  readonly expiresAtMs: number | null;
}

const keyNameRule = { charsMax: 100, allowed: 'a text of 1 to 100 characters' };

/** Reads a key to create. Errors: PULSE_TENANCY_REQUEST_INVALID. */
export function parseNewKey(input: unknown, nowMs: number): NewKey {
  const fields = new InputObject(input);
  const name = fields.text('name', keyNameRule, true);
  const wanted = parseScopes(fields);
  const expiresAtMs = parseExpiry(fields, nowMs) ?? null;
  fields.finish();
  return { name: name as string, scopes: wanted, expiresAtMs };
}

function parseScopes(fields: InputObject): readonly Scope[] {
  const value = fields.value('scopes', true);
  if (value === undefined) return [];
  const isValid =
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((scope: unknown) => scopes.some((known) => known === scope));
  if (!isValid) {
    fields.fail('scopes', `is ${shown(value)}; it must be a list of one or more of ${scopes.join(', ')}`);
    return [];
  }
  return scopes.filter((scope) => value.includes(scope));
}

function parseExpiry(fields: InputObject, nowMs: number): number | undefined {
  const value = fields.value('expires_at');
  if (value === undefined || value === null) return undefined;
  const time = typeof value === 'string' ? parseTime(value) : null;
  if (time === null || !time.ok) {
    return fields.fail(
      'expires_at',
      `is ${shown(value)}; it must be a time such as 2027-01-31T12:00:00Z, or null`,
    );
  }
  if (time.timeMs <= nowMs) {
    return fields.fail('expires_at', `is ${shown(value)}; it must lie after now, ${formatTime(nowMs)}`);
  }
  return time.timeMs;
}
