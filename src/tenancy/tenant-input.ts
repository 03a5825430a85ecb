// What may be said about a tenant: the fields of `POST /v1/tenants` and `PATCH /v1/tenants/{tenant_id}`.
import { jsonDepthMax } from '../core/envelope.ts';
import { InputObject, isStorableText } from './input.ts';
import type { Lookup, Tenant } from './types.ts';

/** A tenant to create. */
export type NewTenant = Omit<Tenant, 'status'>;

/** The fields of a tenant that can change; only those present do. */
export type TenantChange = Partial<
  Pick<Tenant, 'name' | 'status' | 'limits' | 'clientAddressPolicy' | 'lookups'>
>;

const nameRule = { charsMax: 200, allowed: 'a text of 1 to 200 characters' };
export const requestsPerMinuteBounds = { min: 1, max: 1_000_000_000 };
export const requestsPerMinuteDefault = 300;
export const clientAddressPolicies = ['keep', 'truncate', 'drop'] as const;
export const lookupsMax = 20;
const lookupValuesMax = 1000;
const lookupsBytesMax = 65_536;

// Underscore first is Pulse's own: `_platform` is the audit chain of the platform.
const tenantIdRule = {
  charsMax: 63,
  pattern: /^[a-z0-9-][a-z0-9_-]*$/,
  allowed: '1 to 63 of a-z, 0-9, - and _, not starting with _ (those are reserved)',
};
const lookupNameRule = {
  charsMax: 64,
  pattern: /^[a-z][a-z0-9_]*$/,
  allowed: '1 to 64 of a-z, 0-9 and _, starting with a letter',
};
const pointerRule = {
  charsMax: 256,
  pattern: /^(?:\/(?:[^~/]|~[01])*)+$/,
  allowed: 'a JSON Pointer such as /data/region_id',
};

/** Reads a tenant to create. Errors: PULSE_TENANCY_REQUEST_INVALID. */
export function parseNewTenant(input: unknown): NewTenant {
  const fields = new InputObject(input);
  const tenantId = fields.text('tenant_id', tenantIdRule, true);
  const name = fields.text('name', nameRule) ?? tenantId;
  const requestsPerMinute = parseLimits(fields) ?? requestsPerMinuteDefault;
  const topics = fields.choice('topics', ['shared', 'dedicated']) ?? 'shared';
  const clientAddressPolicy = fields.choice('client_address_policy', clientAddressPolicies) ?? 'truncate';
  const lookups = parseLookups(fields) ?? [];
  fields.finish();
  return {
    tenantId: tenantId as string,
    name: name as string,
    topics,
    limits: { requestsPerMinute },
    clientAddressPolicy,
    lookups,
  };
}

/** Reads changes of a tenant. Errors: PULSE_TENANCY_REQUEST_INVALID; also when nothing is to change. */
export function parseTenantChange(input: unknown): TenantChange {
  const fields = new InputObject(input);
  const name = fields.text('name', nameRule);
  const status = fields.choice('status', ['active', 'suspended']);
  const requestsPerMinute = parseLimits(fields);
  const clientAddressPolicy = fields.choice('client_address_policy', clientAddressPolicies);
  const lookups = parseLookups(fields);
  for (const fixed of ['tenant_id', 'topics']) {
    if (fields.value(fixed) !== undefined) fields.fail(fixed, 'never changes; create another tenant instead');
  }
  fields.refuseOthers();
  const change: TenantChange = {
    ...(name === undefined ? {} : { name }),
    ...(status === undefined ? {} : { status }),
    ...(requestsPerMinute === undefined ? {} : { limits: { requestsPerMinute } }),
    ...(clientAddressPolicy === undefined ? {} : { clientAddressPolicy }),
    ...(lookups === undefined ? {} : { lookups }),
  };
  if (fields.failures.length === 0 && Object.keys(change).length === 0) {
    fields.fail('', 'changes nothing; give name, status, limits, client_address_policy or lookups');
  }
  fields.finish();
  return change;
}

function parseLimits(fields: InputObject): number | undefined {
  const limits = fields.object('limits');
  const value = limits?.integer('requests_per_minute', requestsPerMinuteBounds);
  limits?.refuseOthers();
  return value;
}

function parseLookups(fields: InputObject): readonly Lookup[] | undefined {
  const value = fields.value('lookups');
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length > lookupsMax) {
    return fields.fail('lookups', `must be an array of at most ${lookupsMax} lookups`);
  }
  // Before anything serialises it: JSON.stringify fails on values that nest thousands deep.
  if (!isStorable(value, jsonDepthMax)) {
    return fields.fail(
      'lookups',
      `nest deeper than ${jsonDepthMax}, or hold a text with U+0000 or half a surrogate pair`,
    );
  }
  const text = JSON.stringify(value);
  if (Buffer.byteLength(text) > lookupsBytesMax) {
    return fields.fail(
      'lookups',
      `take ${Buffer.byteLength(text)} bytes; at most ${lookupsBytesMax} are allowed`,
    );
  }
  const lookups = value.map((entry: unknown, index) => parseLookup(entry, index, fields));
  const names = new Set(lookups.map((lookup) => lookup.name));
  if (names.size < lookups.length) fields.fail('lookups', 'use a name twice; each lookup needs its own');
  return lookups;
}

function parseLookup(input: unknown, index: number, parent: InputObject): Lookup {
  const fields = new InputObject(input, `/lookups/${index}`, parent.failures);
  const name = fields.text('name', lookupNameRule, true);
  const pointer = fields.text('pointer', pointerRule, true);
  const values = fields.value('values', true);
  if (values !== undefined) {
    if (typeof values !== 'object' || values === null || Array.isArray(values)) {
      fields.fail('values', 'must be an object from found values to what they mean');
    } else if (Object.keys(values).length > lookupValuesMax) {
      fields.fail('values', `holds more than ${lookupValuesMax} entries`);
    }
  }
  fields.refuseOthers();
  return { name: name ?? '', pointer: pointer ?? '', values: (values ?? {}) as Lookup['values'] };
}

/** False for what jsonb cannot hold, and for what nests too deep. */
function isStorable(value: unknown, depthLeft: number): boolean {
  if (typeof value === 'string') return isStorableText(value);
  if (typeof value !== 'object' || value === null) return true;
  if (depthLeft === 0) return false;
  return Object.entries(value).every(
    ([name, member]) => isStorableText(name) && isStorable(member, depthLeft - 1),
  );
}
