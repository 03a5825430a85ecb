// Schemas of the dead-letter routes; the OpenAPI description is made from them.
import { deadLetterCodes } from '../../core/outcome.ts';

const tags = ['dead letters'];

/** Ids of dead letters. */
export const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

// U+0000 cannot be in any column, and Postgres refuses to be asked for it.
const filterText = { type: 'string', minLength: 1, maxLength: 512, pattern: '^[^\\u0000]*$' } as const;

export const tenantFilter = {
  tenant_id: {
    type: 'string',
    maxLength: 63,
    description: 'One tenant; for the administrator, who sees all otherwise, `_platform` among them.',
  },
} as const;

/** What dead letters may be picked by. */
export const letterFilters = {
  code: {
    ...filterText,
    maxLength: 63,
    description: `One of ${Object.keys(deadLetterCodes).join(', ')}.`,
  },
  stage: { ...filterText, maxLength: 63, description: 'Where the event failed, for example `process`.' },
  event_type: filterText,
  event_id: filterText,
  fingerprint: { ...filterText, maxLength: 64, description: 'One group of `/v1/dead-letters/groups`.' },
  from: { type: 'string', maxLength: 64, description: 'Received at or after this RFC 3339 time.' },
  to: { type: 'string', maxLength: 64, description: 'Received before this RFC 3339 time.' },
} as const;

const filters = { ...tenantFilter, ...letterFilters } as const;

function limit(defaultValue: number, maximum: number) {
  return { type: 'integer', minimum: 1, maximum, default: defaultValue } as const;
}

export const errors = {
  type: 'array',
  description: 'Every failure that was found.',
  items: {
    type: 'object',
    properties: {
      pointer: { type: 'string', description: 'JSON Pointer into the event.' },
      rule: { type: 'string' },
      message: { type: 'string' },
    },
  },
} as const;

const time = { type: 'string', format: 'date-time' } as const;
const optionalText = { type: ['string', 'null'] } as const;

const deadLetter = {
  type: 'object',
  additionalProperties: true,
  properties: {
    id: { type: 'string', format: 'uuid' },
    tenant_id: { type: 'string' },
    code: { type: 'string' },
    stage: { type: 'string' },
    event_id: optionalText,
    event_type: optionalText,
    errors,
    attempts: { type: 'integer' },
    state: { type: 'string', enum: ['open', 'reprocessing', 'repaired', 'duplicate', 'discarded'] },
    fingerprint: { type: 'string' },
    received_at: time,
    created_at: time,
    receipt_id: { type: 'string' },
    position: { type: 'string' },
    headers: { type: 'object', additionalProperties: { type: 'string' } },
    payload_bytes: { type: 'integer' },
    payload_base64: { type: 'string', description: 'The original bytes.' },
    payload: { description: 'The original text when it is JSON, its numbers exact; null otherwise.' },
  },
} as const;

const page = {
  type: 'object',
  properties: {
    dead_letters: { type: 'array', items: deadLetter },
    next_cursor: { type: ['string', 'null'] },
  },
} as const;

const group = {
  type: 'object',
  properties: {
    tenant_id: { type: 'string' },
    fingerprint: { type: 'string' },
    code: { type: 'string' },
    stage: { type: 'string' },
    event_type: optionalText,
    count: { type: 'integer' },
    first_seen: time,
    last_seen: time,
    sample_id: { type: 'string', format: 'uuid', description: 'The newest dead letter of the group.' },
    errors,
  },
} as const;

export function querystring<const Properties extends object>(properties: Properties) {
  return { type: 'object', additionalProperties: false, properties } as const;
}

export const list = {
  tags,
  summary: 'Dead letters, newest first.',
  querystring: querystring({
    ...filters,
    limit: limit(50, 200),
    cursor: { type: 'string', minLength: 1, maxLength: 200, description: 'next_cursor of the page before.' },
  }),
  response: { 200: page },
} as const;

export const sample = {
  tags,
  summary: 'The newest few dead letters of a group, or of all.',
  querystring: querystring({ ...filters, limit: limit(3, 20) }),
  response: { 200: page },
} as const;

export const groups = {
  tags,
  summary: 'Dead letters grouped by cause, largest group first.',
  querystring: querystring({ ...filters, limit: limit(100, 1000) }),
  response: {
    200: {
      type: 'object',
      properties: {
        groups: { type: 'array', items: group },
        truncated: { type: 'boolean', description: 'True when there are more groups than shown.' },
      },
    },
  },
} as const;

export const one = {
  tags,
  summary: 'One dead letter with its original bytes.',
  params: {
    type: 'object',
    properties: { id: { type: 'string', maxLength: 100 } },
    required: ['id'],
  },
  querystring: querystring(tenantFilter),
  response: { 200: deadLetter },
} as const;
