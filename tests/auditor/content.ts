// Whether two JSON values mean the same: raw bytes on one side, jsonb on the other.
import { createHash } from 'node:crypto';

/** The digest of a native event's data; null when the value is no such event. */
export function dataDigest(value: Buffer): string | null {
  try {
    const event = JSON.parse(value.toString('utf8')) as Record<string, unknown> | null;
    const data = event?.['data'] ?? event?.['payload'] ?? event?.['properties'];
    return data === undefined || data === null ? null : meaningDigest(data);
  } catch {
    return null;
  }
}

/** The same for equal values, whatever the order of their members. Numbers are compared as doubles. */
export function meaningDigest(value: unknown): string {
  return createHash('md5').update(canonical(value)).digest('base64url');
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value === null || typeof value !== 'object')
    return typeof value === 'number' ? String(value) : JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join()}}`;
}
