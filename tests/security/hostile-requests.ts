// Makes hostile requests for every route of the OpenAPI, the same ones for the same seed.
import type { Ask } from './http.ts';
import type { Caller, World } from './world.ts';

/** Numbers from a seed: mulberry32. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  one<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

export interface Operation {
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly string[];
}

/** The operations of an OpenAPI document. */
export function operationsOf(document: {
  paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>>;
}): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [] }]) => ({
      method: method.toUpperCase(),
      path,
      parameters: parameters
        .filter((parameter) => parameter.in === 'query')
        .map((parameter) => parameter.name),
    })),
  );
}

const long = (text: string, times: number): string => text.repeat(times);

/** Values that have broken servers before. */
const texts: readonly string[] = [
  '',
  ' ',
  '0',
  '-1',
  '1e9',
  '9223372036854775808',
  '-9223372036854775809',
  '99999999999999999999999',
  '1.5',
  'NaN',
  'Infinity',
  '0x10',
  '１',
  'null',
  'undefined',
  'true',
  '[]',
  '{}',
  '[object Object]',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '\u0000',
  'a\u0000b',
  '\u0001\u001f',
  '\u007f',
  '\ufeff',
  '\u2028',
  '\u202e',
  '\ufffd',
  '\ud83d\ude00',
  'é'.normalize('NFD'),
  '\r\nX-Injected: 1',
  '\n',
  '\t',
  "'",
  '"',
  "' OR '1'='1",
  "'; DROP TABLE events; --",
  '1; SELECT pg_sleep(9)',
  "' UNION SELECT key_hash FROM api_keys --",
  '$1',
  '\\',
  "\\'; --",
  '%',
  '%%',
  '_',
  '*',
  '/*',
  '$$',
  "E'\\x00'",
  '../../etc/passwd',
  '..%2f..',
  '/',
  '//',
  '.',
  '..',
  '?',
  '#',
  ';',
  '&',
  '=',
  '+',
  '%00',
  '%zz',
  '\u0024{jndi:ldap://x}',
  '{{7*7}}',
  '<script>alert(1)</script>',
  '`id`',
  '$(id)',
  '|',
  'data:text/html,x',
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999Z',
  '+275760-09-13T00:00:00Z',
  '2026-02-30T00:00:00Z',
  '2026-06-30T23:59:60Z',
  '2026-01-01',
  '2026-01-01T00:00:00',
  '2026-01-01T00:00:00+99:99',
  'infinity',
  'now',
  'epoch',
  '1700000000',
  '-62135596800001',
  '5m',
  '7d',
  '1m',
  '1d',
  'all',
  'process',
  'invalid_json',
  '_platform',
  'alpha',
  'beta',
  'ALPHA',
  'alpha,beta',
  'alpha ',
  '-',
  long('a', 63),
  long('a', 64),
  'rcp_',
  'rcp_alpha.1.0.0',
  'rcp_beta.1.0.0',
  'rcp_alpha.1.0.0.0',
  'rcp_alpha.1.0.9007199254740993',
  'rcp_alpha.2147483647.999999.9007199254740991',
  'rcp_alpha.-1.0.0',
  'rcp_alpha.1e1.0.0',
  'rcp__platform.1.0.0',
  '00000000-0000-7000-8000-000000000000',
  'key_00000000000000000000000000000000',
  'AAAA',
  'bnVsbA',
  'W10',
  'e30',
  'WyJhIl0',
  Buffer.from('0:1.0.0').toString('base64url'),
  Buffer.from('253402300799999:2147483647.999999.9007199254740991').toString('base64url'),
  Buffer.from('-62135596800000:1.0.0').toString('base64url'),
  Buffer.from('["alpha"]').toString('base64url'),
  Buffer.from('[9007199254740991]').toString('base64url'),
  Buffer.from('[-1]').toString('base64url'),
  Buffer.from('["a","b"]').toString('base64url'),
  Buffer.from('[0,"00000000-0000-7000-8000-000000000000"]').toString('base64url'),
  Buffer.from('["alpha","9999-12-31"]').toString('base64url'),
  'events.valid=0',
  'events.valid=0.0.0.0.0.0',
  'events.valid=999999999999999',
  'events.raw=0',
  'x=0,x=0',
  long('events.valid=0,', 300),
  long('a', 1025),
  long('é', 700),
  long('x', 5000),
  '$',
  '$.*',
  '$.**',
  '$.x == 1',
  '$.x ? (',
  'strict $',
  'lax $',
  '$x',
  '$.x like_regex "("',
  '$.** ? (@ like_regex "^(a+)+$")',
  '$.s like_regex "^(([a-z])+.)+[A-Z]([a-z])+$"',
  '$.s like_regex "(a*)*\\\\1x"',
  '$.s like_regex "(((((a{0,99}){0,99}){0,99}){0,99}){0,99})"',
  '$[0 to 2147483647]',
  '$[last + 99999999999]',
  '$.x / 0',
  '$.x.datetime("YYYY")',
  '$.s.double() > 1e999',
  '$.**{0 to last}.**{0 to last} ? (@ == @)',
  '$.keyvalue()',
  `${long('(', 900)}$`,
  `$${long('.a', 900)}`,
  `$${long('[*]', 600)}`,
  `$ ? (${long('!', 900)}(@ == 1))`,
  '$ ? (@ == "\\u0000")',
  '$ ? (@ == "\\ud800")',
  `$.x == ${long('9', 900)}`,
  '$.type()',
  '$.x.bigint()',
  '$.x.decimal(1000,999)',
];

const values: readonly string[] = [
  'null',
  'true',
  '0',
  '-0',
  '1e400',
  '-1e-400',
  '123456789012345678901234567890',
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '[]',
  '{}',
  '[[]]',
  '[null]',
  '{"__proto__":{"admin":true}}',
  '{"constructor":{"prototype":{"x":1}}}',
  '{"a":1,"a":2}',
  '{"":""}',
  '"alpha"',
  '"beta"',
  '["ingest","read","admin"]',
  '["platform"]',
  '{"toString":1}',
  '{"length":1e9}',
  `${'['.repeat(70)}${']'.repeat(70)}`,
  `${'{"a":'.repeat(70)}1${'}'.repeat(70)}`,
  `"${'x'.repeat(5000)}"`,
  '{"requests_per_minute":-1}',
  '{"requests_per_minute":1e99}',
  '{"requests_per_minute":"1"}',
  '[{"name":"a","pointer":"/a","values":{"k":{"a":1}}}]',
  '[{"name":"a","pointer":"~2","values":null}]',
  '"9999-12-31T23:59:59Z"',
  '"0001-01-01T00:00:00Z"',
];

const members = [
  'event_id',
  'event_type',
  'event_time',
  'timestamp',
  'data',
  'payload',
  'subject',
  'source',
  'schema_version',
  'events',
  'specversion',
  'id',
  'type',
  'tenant_id',
  'name',
  'scopes',
  'expires_at',
  'limits',
  'lookups',
  'client_address_policy',
  'topics',
  'status',
  '__proto__',
  'constructor',
  'x',
  '',
];

const contentTypes = [
  'application/json',
  'application/json; charset=utf-8',
  'application/json; charset=utf-16',
  'application/x-ndjson',
  'application/cloudevents+json',
  'application/cloudevents-batch+json',
  'application/problem+json',
  'text/plain',
  'multipart/form-data; boundary=x',
  'application/x-www-form-urlencoded',
  'application/octet-stream',
  'a',
  'a/b/c',
  ';',
  'application/json, text/plain',
];

const headerValues = [
  '',
  ' ',
  '0',
  '-1',
  '"',
  '"a',
  '"a"',
  'a b',
  '%C3%28',
  '%',
  'é',
  'gzip',
  'gzip, br',
  'identity',
  'x'.repeat(300),
  'x'.repeat(3000),
  '*/*;q=0',
  'bytes=0-1',
  'W/"x"',
  '100-continue',
  '127.0.0.1, 10.0.0.1',
  '::1',
  '00-0-0-0',
  'constructor',
  '__proto__',
  '1.0',
  '2.0',
];
const headerNames = [
  'idempotency-key',
  'x-request-id',
  'content-encoding',
  'accept',
  'accept-encoding',
  'last-event-id',
  'x-forwarded-for',
  'forwarded',
  'traceparent',
  'tracestate',
  'user-agent',
  'range',
  'if-none-match',
  'x-http-method-override',
  'ce-id',
  'ce-type',
  'ce-source',
  'ce-specversion',
  'ce-time',
  'ce-subject',
  'ce-__proto__',
  'origin',
  'access-control-request-method',
  'cookie',
  'te',
  'via',
];

/** Percent-encodes what a request line cannot carry; lone surrogates become U+FFFD. */
function encoded(dice: Dice, text: string): string {
  if (dice.chance(10)) return text.replaceAll(/[^\x21-\x7e]/g, '%00').replaceAll(/[#?]/g, '%3F');
  if (dice.chance(5)) return '%ff%fe%c0%af%ed%a0%80';
  return encodeURIComponent(text.toWellFormed());
}

function body(dice: Dice): string | Buffer {
  const kind = dice.below(10);
  if (kind === 0) return Buffer.from(Array.from({ length: dice.below(300) }, () => dice.below(256)));
  if (kind === 1) return dice.one(values);
  const object = (): string =>
    `{${Array.from({ length: dice.below(6) }, () => `${JSON.stringify(dice.one(members))}:${dice.chance(50) ? dice.one(values) : JSON.stringify(dice.one(texts))}`).join(',')}}`;
  if (kind === 2) return `[${Array.from({ length: dice.below(5) }, object).join(',')}]`;
  if (kind === 3) return Array.from({ length: dice.below(5) }, object).join('\n');
  const text = object();
  return kind === 4 ? text.slice(0, dice.below(text.length + 1)) : text;
}

const callers: readonly Caller[] = [
  'platform',
  'platform',
  'owner',
  'owner',
  'read',
  'ingest',
  'foreign',
  'none',
  'malformed',
  'revoked',
];

/** One hostile request. */
export function hostileRequest(dice: Dice, operations: readonly Operation[], world: World): Ask {
  const { method, path, parameters } = dice.one(operations);
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    if (name === 'tenant_id' && dice.chance(60)) return 'alpha';
    if (name === 'event_id' && dice.chance(30)) return encodeURIComponent(world.eventId);
    return encoded(dice, dice.one(texts)) || 'x';
  });
  const query = Array.from({ length: dice.below(5) }, () => {
    const name =
      dice.chance(90) && parameters.length > 0 ? dice.one(parameters) : encoded(dice, dice.one(texts));
    return `${name}${dice.chance(5) ? '[]' : ''}=${encoded(dice, dice.one(texts))}`;
  }).join('&');
  const headers: Record<string, string> = { ...world.credentials[dice.one(callers)] };
  for (let n = dice.below(3); n > 0; n--)
    headers[dice.one(headerNames)] = dice.one(headerValues).replaceAll(/[^\x20-\x7e]/g, '');
  if (headers['expect'] !== undefined) delete headers['expect'];
  const hasBody = method === 'POST' || method === 'PATCH' || dice.chance(5);
  if (hasBody) headers['content-type'] = dice.chance(60) ? 'application/json' : dice.one(contentTypes);
  const target = query === '' ? filled : `${filled}?${query}`;
  const used = dice.chance(4)
    ? dice.one(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND'])
    : method;
  return { method: used, path: target, headers, ...(hasBody ? { body: body(dice) } : {}) };
}
