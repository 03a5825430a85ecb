// Schemas of the repair routes; the OpenAPI description is made from them.
import { errors, letterFilters, querystring, tenantFilter } from '../dead-letters/route-schemas.ts';
import { jobStates } from './jobs.ts';
import { itemResults } from './letters.ts';

const tags = ['dead letters'];
const time = { type: ['string', 'null'], format: 'date-time' } as const;
const optionalText = { type: ['string', 'null'] } as const;
const cursor = {
  type: 'string',
  minLength: 1,
  maxLength: 200,
  description: 'next_cursor of the page before.',
} as const;
const uuid = { type: 'string', format: 'uuid' } as const;

/** Most ids of one request. */
const idsMax = 10_000;

const selection = {
  ids: {
    type: 'array',
    minItems: 1,
    maxItems: idsMax,
    items: { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' },
    description: 'Dead letters by id; either these or `filter`.',
  },
  filter: {
    type: 'object',
    additionalProperties: false,
    properties: letterFilters,
    description: 'Every open dead letter that matches; `{}` is all of the tenant.',
  },
} as const;

const resultList = Object.entries(itemResults)
  .map(([name, meaning]) => `- \`${name}\`: ${meaning}`)
  .join('\n');

const job = {
  type: 'object',
  properties: {
    job_id: uuid,
    tenant_id: { type: 'string' },
    state: { type: 'string', enum: jobStates },
    dry_run: { type: 'boolean' },
    ids_count: { type: 'integer' },
    filter: { type: 'object', additionalProperties: true },
    patched: { type: 'boolean' },
    actor: { type: 'string' },
    total: { type: ['integer', 'null'], description: 'Items; null until they have been picked out.' },
    truncated: { type: 'boolean', description: 'More dead letters matched than one job may hold.' },
    progress: {
      type: 'object',
      properties: {
        waiting: { type: 'integer' },
        sent: { type: 'integer', description: 'In the log, not judged yet.' },
        done: { type: 'integer' },
      },
    },
    results: {
      type: 'object',
      additionalProperties: { type: 'integer' },
      description: `Items done, by what became of them:\n${resultList}`,
    },
    error: { ...optionalText, description: 'What interrupted the job last.' },
    created_at: time,
    started_at: time,
    finished_at: time,
  },
} as const;

const jobPath = {
  type: 'object',
  properties: { job_id: { type: 'string', maxLength: 100 } },
  required: ['job_id'],
} as const;

export const reprocess = {
  tags,
  summary: 'Reprocess dead letters, patched or as they are.',
  description:
    'Takes scope admin; the administrator names the tenant with `tenant_id`. Starts a job that appends each dead letter again as a ' +
    'further attempt of the same event. `patch` is a JSON Patch (RFC 6902) of the event as it was sent; it is applied to the original ' +
    'bytes, and what it does not name stays as it is. A dry run says what would happen and changes nothing.',
  querystring: querystring(tenantFilter),
  body: {
    type: 'object',
    additionalProperties: false,
    properties: {
      ...selection,
      patch: {
        type: 'array',
        minItems: 1,
        maxItems: 100,
        items: { type: 'object', additionalProperties: true },
        description: 'add, remove, replace, move, copy, test.',
      },
      dry_run: { type: 'boolean', default: false },
    },
  },
  response: { 202: job },
} as const;

export const discard = {
  tags,
  summary: 'Discard open dead letters with a reason.',
  description:
    'Takes scope admin. They are kept and stay dead letters in the reconciliation, but nothing is reprocessed of them any more. ' +
    'At most 10,000 a call; `more` says that others match.',
  querystring: querystring(tenantFilter),
  body: {
    type: 'object',
    additionalProperties: false,
    required: ['reason'],
    properties: {
      ...selection,
      reason: { type: 'string', minLength: 1, maxLength: 500, pattern: '^[^\\u0000]*$' },
    },
  },
  response: {
    200: { type: 'object', properties: { discarded: { type: 'integer' }, more: { type: 'boolean' } } },
  },
} as const;

export const list = {
  tags,
  summary: 'Repair jobs, newest first.',
  querystring: querystring({
    ...tenantFilter,
    limit: { type: 'integer', minimum: 1, maximum: 200, default: 50 },
    cursor,
  }),
  response: {
    200: {
      type: 'object',
      properties: { jobs: { type: 'array', items: job }, next_cursor: optionalText },
    },
  },
} as const;

export const one = {
  tags,
  summary: 'One repair job: its state, progress and counts.',
  params: jobPath,
  querystring: querystring(tenantFilter),
  response: { 200: job },
} as const;

export const cancel = {
  ...one,
  summary: 'Cancel a repair job.',
  description:
    'Takes scope admin. What is in the log already is judged; the rest is left, and `resume` goes on with it.',
  response: { 202: job },
} as const;

export const resume = {
  ...one,
  summary: 'Resume a cancelled or failed repair job.',
  description: 'Takes scope admin.',
  response: { 202: job },
} as const;

export const items = {
  tags,
  summary: 'What became of each item of a repair job.',
  params: jobPath,
  querystring: querystring({
    ...tenantFilter,
    result: { type: 'string', enum: Object.keys(itemResults), description: 'Only items with this result.' },
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
    cursor,
  }),
  response: {
    200: {
      type: 'object',
      properties: {
        items: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              item: { type: 'integer' },
              dead_letter_id: uuid,
              state: { type: 'string', enum: ['waiting', 'sent', 'done'] },
              result: optionalText,
              detail: optionalText,
              errors,
              attempt: { type: ['integer', 'null'] },
              receipt_id: optionalText,
            },
          },
        },
        next_cursor: optionalText,
      },
    },
  },
} as const;
