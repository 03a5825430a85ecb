// JSON schemas of the tenancy routes. They make the OpenAPI and shape the answers; the input itself is judged by
// `tenant-input.ts`, `key-input.ts` and `query-input.ts`, whose messages name the value found, and which the command line
// and the first start share.
import {
  clientAddressPolicies,
  lookupsMax,
  requestsPerMinuteBounds,
  requestsPerMinuteDefault,
} from './tenant-input.ts';

/** The schemas only describe: Fastify would name the rule but not the value, and drop or coerce on the way. */
export const describedOnly = { validatorCompiler: () => () => true };

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const time = { type: 'string', format: 'date-time' } as const;
const nullableTime = { type: ['string', 'null'], format: 'date-time' } as const;
const scopeList = {
  type: 'array',
  minItems: 1,
  items: { type: 'string', enum: ['ingest', 'read', 'admin'] },
} as const;
const nextCursor = {
  type: ['string', 'null'],
  description: 'Give it as `cursor` for the next page; null on the last.',
} as const;

const limits = {
  type: 'object',
  properties: {
    requests_per_minute: {
      type: 'integer',
      minimum: requestsPerMinuteBounds.min,
      maximum: requestsPerMinuteBounds.max,
      default: requestsPerMinuteDefault,
    },
  },
} as const;

const lookups = {
  type: 'array',
  maxItems: lookupsMax,
  description: 'Tables that enrich events: the value at `pointer` picks an entry of `values`.',
  items: {
    type: 'object',
    required: ['name', 'pointer', 'values'],
    properties: { name: text, pointer: text, values: { type: 'object', additionalProperties: true } },
  },
} as const;

const changeable = {
  name: { type: 'string', minLength: 1, maxLength: 200 },
  limits,
  client_address_policy: {
    type: 'string',
    enum: clientAddressPolicies,
    description: 'How client addresses are kept: whole, with the host part zeroed, or not at all.',
  },
  lookups,
} as const;

const topics = {
  type: 'string',
  enum: ['shared', 'dedicated'],
  description: '`dedicated` gives the tenant log topics of its own. Never changes.',
} as const;
const status = { type: 'string', enum: ['active', 'suspended'] } as const;

const tenant = {
  type: 'object',
  required: [
    'tenant_id',
    'name',
    'topics',
    'status',
    'limits',
    'client_address_policy',
    'lookups',
    'created_at',
  ],
  properties: { tenant_id: text, ...changeable, topics, status, created_at: time },
} as const;

const keyProperties = {
  key_id: text,
  tenant_id: text,
  name: text,
  scopes: scopeList,
  created_at: time,
  expires_at: nullableTime,
  revoked_at: nullableTime,
} as const;
const key = { type: 'object', required: Object.keys(keyProperties), properties: keyProperties } as const;

const tenantPath = { type: 'object', required: ['tenant_id'], properties: { tenant_id: text } } as const;
const keyPath = {
  type: 'object',
  required: ['tenant_id', 'key_id'],
  properties: { tenant_id: text, key_id: text },
} as const;

const page = {
  limit: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  cursor: { ...text, description: 'The `next_cursor` of the page before.' },
} as const;
const range = {
  from: { ...text, description: 'From this date or time on.' },
  to: { ...text, description: 'Up to this date or time, exclusive.' },
} as const;
const tenantFilter = {
  tenant_id: { ...text, description: 'One tenant; only the administrator sees others.' },
} as const;

const tags = ['tenancy'];

export const createTenantSchema = {
  tags,
  summary: 'Create a tenant',
  description: 'Takes the admin token.',
  body: {
    type: 'object',
    required: ['tenant_id'],
    properties: {
      tenant_id: { type: 'string', pattern: '^[a-z0-9-][a-z0-9_-]{0,62}$' },
      ...changeable,
      topics: { ...topics, default: 'shared' },
    },
  },
  response: { 201: tenant },
};

export const listTenantsSchema = {
  tags,
  summary: 'List tenants',
  description: 'The administrator sees all tenants, a key with scope read its own.',
  querystring: { type: 'object', properties: page },
  response: {
    200: {
      type: 'object',
      required: ['tenants', 'next_cursor'],
      properties: { tenants: { type: 'array', items: tenant }, next_cursor: nextCursor },
    },
  },
};

export const getTenantSchema = {
  tags,
  summary: 'Show a tenant',
  description: 'Takes scope read.',
  params: tenantPath,
  response: { 200: tenant },
};

export const updateTenantSchema = {
  tags,
  summary: 'Change a tenant',
  description:
    'Takes scope admin; `limits` and `status` take the admin token. Fields that are left out stay as they are.',
  params: tenantPath,
  body: { type: 'object', properties: { ...changeable, status } },
  response: { 200: tenant },
};

export const createKeySchema = {
  tags,
  summary: 'Create an API key',
  description: 'Takes scope admin. The key is shown in this answer only. At most two live keys share a name.',
  params: tenantPath,
  body: {
    type: 'object',
    required: ['name', 'scopes'],
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 100 },
      scopes: scopeList,
      expires_at: nullableTime,
    },
  },
  response: {
    201: { ...key, required: [...key.required, 'api_key'], properties: { ...keyProperties, api_key: text } },
  },
};

export const listKeysSchema = {
  tags,
  summary: 'List the keys of a tenant',
  description: 'Takes scope admin. Newest first, revoked and expired ones too; never the keys themselves.',
  params: tenantPath,
  querystring: { type: 'object', properties: page },
  response: {
    200: {
      type: 'object',
      required: ['keys', 'next_cursor'],
      properties: { keys: { type: 'array', items: key }, next_cursor: nextCursor },
    },
  },
};

export const revokeKeySchema = {
  tags,
  summary: 'Revoke an API key',
  description:
    'Takes scope admin. Every process refuses the key within 5 seconds. Revoking twice changes nothing.',
  params: keyPath,
  response: { 200: key },
};

export const usageSchema = {
  tags,
  summary: 'Usage by tenant and day',
  description:
    'Takes scope read. Days are UTC, by the time of receipt; the last 30 days unless told otherwise.',
  querystring: { type: 'object', properties: { ...range, ...tenantFilter, ...page } },
  response: {
    200: {
      type: 'object',
      required: ['from', 'to', 'usage', 'next_cursor'],
      properties: {
        from: time,
        to: time,
        usage: {
          type: 'array',
          items: {
            type: 'object',
            required: ['tenant_id', 'day', 'events', 'bytes', 'stored_rows'],
            properties: {
              tenant_id: text,
              day: { type: 'string', format: 'date' },
              events: count,
              bytes: count,
              stored_rows: count,
            },
          },
        },
        next_cursor: nextCursor,
      },
    },
  },
};

export const auditSchema = {
  tags,
  summary: 'The audit log',
  description:
    'Takes scope admin: the own tenant; the administrator sees the platform, or the tenant that `tenant_id` names. Newest first. `hash` covers the row and `previous_hash`; `pulse audit verify` checks the chain.',
  querystring: { type: 'object', properties: { ...range, ...tenantFilter, ...page } },
  response: {
    200: {
      type: 'object',
      required: ['entries', 'next_cursor'],
      properties: {
        entries: {
          type: 'array',
          items: {
            type: 'object',
            required: [
              'tenant_id',
              'sequence',
              'occurred_at',
              'actor',
              'action',
              'target',
              'details',
              'previous_hash',
              'hash',
            ],
            properties: {
              tenant_id: { ...text, description: 'The chain: a tenant, or `_platform`.' },
              sequence: { type: 'integer', minimum: 1 },
              occurred_at: time,
              actor: { ...text, description: '`admin`, `key:<key_id>` or `system`.' },
              action: text,
              target: text,
              details: { type: 'object', additionalProperties: true },
              previous_hash: text,
              hash: text,
            },
          },
        },
        next_cursor: nextCursor,
      },
    },
  },
};

export const verifyAuditSchema = {
  tags,
  summary: 'Check the audit log',
  description:
    'Takes scope admin: recomputes the own chain; for the administrator those of the platform and of all tenants, or the one that `tenant_id` names (`_platform` for the platform alone).',
  querystring: { type: 'object', properties: tenantFilter },
  response: {
    200: {
      type: 'object',
      required: ['whole', 'chains'],
      properties: {
        whole: { type: 'boolean', description: 'True when no chain is broken.' },
        chains: {
          type: 'array',
          items: {
            type: 'object',
            required: ['chain', 'rows', 'head_hash', 'broken'],
            properties: {
              chain: text,
              rows: { ...count, description: 'Rows found whole, from the first on.' },
              head_hash: {
                type: ['string', 'null'],
                description: 'Kept elsewhere, it shows later whether the chain was rewritten up to here.',
              },
              broken: {
                type: ['object', 'null'],
                description: 'The first broken row.',
                required: ['sequence', 'reason', 'detail'],
                properties: {
                  sequence: { type: 'integer', minimum: 1 },
                  reason: { type: 'string', enum: ['missing', 'changed', 'unlinked', 'head'] },
                  detail: text,
                },
              },
            },
          },
        },
      },
    },
  },
};
