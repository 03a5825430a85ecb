// What the listing commands share: pages, filters, and rows of unknown shape read safely.
import type { Api, Json, Query } from './api.ts';
import type { CommandContext, OptionTable } from './command.ts';

/** Options of every command that lists. */
export const pageOptions = {
  limit: { type: 'string', value: 'N', help: 'How many rows; 50 unless told.' },
  tenant: { type: 'string', value: 'ID', help: 'Only this tenant (administrator).' },
} as const satisfies OptionTable;

/** Options of commands that take a range of receive times. */
export const rangeOptions = {
  from: { type: 'string', value: 'TIME', help: 'From this time on, ISO 8601.' },
  to: { type: 'string', value: 'TIME', help: 'Up to this time, ISO 8601.' },
} as const satisfies OptionTable;

/** Most rows of one listing; beyond it, the API's own cursor is the tool. */
const rowsMax = 10_000;
const pageRowsMax = 1_000;

/** As many rows as `--limit` says, of the tenant that `--tenant` names. `name` is the member that holds the rows. */
export async function listRows(
  context: CommandContext,
  path: string,
  name: string,
  query: Query = {},
): Promise<readonly Json[]> {
  const limit = context.options.number('limit', { defaultValue: 50, min: 1, max: rowsMax });
  const tenantId = context.options.text('tenant');
  return await followCursor(context.api(), path, name, { tenant_id: tenantId, ...query }, limit);
}

/** Follows the cursor until `limit` rows are there. */
export async function followCursor(
  api: Api,
  path: string,
  name: string,
  query: Query = {},
  limit = rowsMax,
): Promise<readonly Json[]> {
  const rows: Json[] = [];
  let cursor: string | undefined;
  do {
    const page = await api.get(path, {
      ...query,
      limit: Math.min(pageRowsMax, limit - rows.length),
      cursor,
    });
    rows.push(...rowsOf(page, name));
    cursor = typeof page['next_cursor'] === 'string' ? page['next_cursor'] : undefined;
  } while (cursor !== undefined && rows.length < limit);
  return rows;
}

/** The objects of the array `name`; empty when there is none. */
export function rowsOf(value: Json, name: string): readonly Json[] {
  const rows = value[name];
  if (!Array.isArray(rows)) return [];
  return rows.filter((row): row is Json => typeof row === 'object' && row !== null);
}

/** The member `name` when it is an object. */
export function objectOf(value: Json, name: string): Json {
  const member = value[name];
  return typeof member === 'object' && member !== null ? (member as Json) : {};
}

/** Name and value of every member, for showing one object. */
export function pairsOf(value: Json): readonly (readonly [string, unknown])[] {
  return Object.entries(value);
}

/** Waits until `done` gives a value, asking every `everyMs`. Null after `timeoutMs`, or when the signal ends it. */
export async function pollUntil<Value>(options: {
  everyMs: number;
  timeoutMs: number;
  signal: AbortSignal;
  done: () => Promise<Value | null>;
}): Promise<Value | null> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const value = await options.done();
    if (value !== null) return value;
    if (performance.now() + options.everyMs > deadline || options.signal.aborted) return null;
    await new Promise((resume) => setTimeout(resume, options.everyMs));
  }
}

/** A receipt as the API shows it. */
export async function readReceipt(api: Api, receiptId: string): Promise<Json> {
  return await api.get(`/v1/receipts/${encodeURIComponent(receiptId)}`);
}
