// Canaries: unique strings in everything that a tenant can write, and then a search for them in everything that another
// tenant can reach, and in what the processes log.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { processTree, type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';
import { ask } from './http.ts';
import { hiddenRoutes, pathOf, routes } from './routes.ts';

let count = 0;
/** A string that stands nowhere else; a tenant id as well, and found again in whatever case it is written. */
const canary = (what: string): string => `cnry${++count}_${what.replaceAll('-', '_')}`;

interface Victim {
  readonly tenantId: string;
  readonly key: string;
  readonly canaries: readonly string[];
  readonly receipts: readonly string[];
  readonly eventIds: readonly string[];
  readonly idempotencyKey: string;
}

async function makeTenant(
  pulse: RunningPulse,
  tenantId: string,
  name: string,
  topics: string,
  more: object = {},
): Promise<string> {
  const options = { credential: pulse.adminToken };
  const tenant = { tenant_id: tenantId, name, topics, limits: { requests_per_minute: 1_000_000 }, ...more };
  const made = await pulse.post('/v1/tenants', tenant, options);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const key = await pulse.post(
    `/v1/tenants/${tenantId}/keys`,
    { name: `key of ${name}`, scopes: ['admin'] },
    options,
  );
  return (key.body as { api_key: string }).api_key;
}

/** A tenant that has written a canary wherever something can be written. */
async function makeVictim(pulse: RunningPulse, topics: 'shared' | 'dedicated'): Promise<Victim> {
  const canaries: string[] = [];
  const plant = (what: string): string => {
    canaries.push(canary(what));
    return canaries.at(-1) as string;
  };
  const tenantId = plant('tenant');
  const lookups = [
    {
      name: plant('lookup').slice(0, 60),
      pointer: '/data/plan',
      values: { [plant('lookup-key')]: { [plant('lookup-name')]: plant('lookup-value') } },
    },
  ];
  const key = await makeTenant(pulse, tenantId, plant('tenant-name'), topics, { lookups });
  const receipts: string[] = [];
  const eventIds: string[] = [];
  const idempotencyKey = plant('idempotency-key');
  const headers = (): Record<string, string> => ({
    'x-request-id': plant('request-id'),
    'user-agent': plant('user-agent'),
    'x-custom': plant('header'),
    cookie: `session=${plant('cookie')}`,
  });
  const send = async (path: string, body: unknown, more: Record<string, string> = {}): Promise<void> => {
    const answer = await pulse.post(path, body, { credential: key, headers: { ...headers(), ...more } });
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    const { receipts: given, ...one } = answer.body as {
      receipts?: { receipt_id: string; event_id: string }[];
      receipt_id: string;
      event_id: string;
    };
    for (const receipt of given ?? [one]) {
      receipts.push(receipt.receipt_id);
      eventIds.push(receipt.event_id);
    }
  };
  const event = () => ({
    event_id: plant('event-id'),
    event_type: plant('event-type'),
    subject: plant('subject'),
    source: plant('source'),
    schema_version: plant('version'),
    [plant('member')]: plant('member-value'),
    data: { [plant('data-key')]: plant('data'), plan: lookups[0]?.name, list: [[plant('deep')]] },
  });
  const twice = event();
  await send('/v1/collect', twice, { 'idempotency-key': `"${idempotencyKey}"` });
  await send('/v1/collect', [event(), twice, event()]);
  await send('/events', event());
  // Dead letters: no type, a text that jsonb cannot hold, half a surrogate pair in an id, and a wrong member.
  await send('/v1/collect', [
    { event_id: plant('dead-id'), data: plant('dead-data') },
    { ...event(), data: `${plant('dead-nul')}\u0000` },
  ]);
  await send('/v1/collect', [
    { ...event(), event_id: `${plant('dead-surrogate')}\ud800` },
    { ...event(), event_time: plant('dead-time') },
  ]);
  await send('/v1/collect', JSON.stringify(plant('not-an-object')));
  await send(
    '/v1/collect',
    { data: plant('cloud-data') },
    {
      'ce-specversion': '1.0',
      'ce-id': plant('ce-id'),
      'ce-type': plant('ce-type'),
      'ce-source': plant('ce-source'),
      'ce-subject': plant('ce-subject'),
      'ce-myextension': plant('ce-extension'),
    },
  );
  // Refused ones: nothing is stored, but they pass through errors and logs.
  const refused = await pulse.post('/v1/collect', `${plant('refused')}`, { credential: key });
  assert.equal(refused.status, 400);
  await pulse.get(`/v1/events?q=${encodeURIComponent(`$.x == "${plant('predicate')}`)}`, key);
  await pulse.get(`/v1/events/${plant('asked-id')}`, key);
  await waitFor(
    async () => {
      const states = await Promise.all(
        receipts.map(
          async (id) => ((await pulse.get(`/v1/receipts/${id}`, key)).body as { state?: string }).state,
        ),
      );
      return states.every((state) => state !== undefined && state !== 'in_flight');
    },
    { timeoutMs: 20_000, what: () => 'the events of the victim' },
  );
  return { tenantId, key, canaries, receipts, eventIds, idempotencyKey };
}

/** Everything that came back to the stranger, and what it had sent itself. */
interface Seen {
  readonly what: string;
  readonly text: string;
}

/** Requests of the stranger that name nothing of the victim in ways that come back. */
async function lookEverywhere(pulse: RunningPulse, key: string, victims: readonly Victim[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  const look = async (path: string, echoes: readonly string[] = []): Promise<void> => {
    const answer = await ask(pulse.url, { method: 'GET', path, headers: { 'x-api-key': key } });
    assert.ok(answer.status < 500, `${path}: ${answer.text}`);
    const whole = `${JSON.stringify(answer.headers)} ${answer.text}`;
    seen.push({ what: path, text: echoes.reduce((text, echo) => text.replaceAll(echo, ''), whole) });
  };
  const gets = Object.keys(routes)
    .filter((name) => name.startsWith('GET ') && !name.endsWith('/stream'))
    .map((name) => name.slice(4));
  for (const path of [...gets.filter((path) => !path.includes('{')), ...hiddenRoutes]) await look(path);
  for (const victim of victims) {
    for (const template of gets.filter((path) => path.includes('{'))) {
      for (const id of victim.eventIds.slice(0, 3)) {
        const values = { tenant_id: victim.tenantId, event_id: id, id, receipt_id: id };
        await look(pathOf(template, values), [victim.tenantId, id]);
      }
    }
    for (const template of gets.filter((path) => routes[`GET ${path}`]?.filtersByTenant)) {
      await look(`${template}?tenant_id=${victim.tenantId}`, [victim.tenantId]);
    }
    for (const id of victim.eventIds) await look(`/v1/events?event_id=${encodeURIComponent(id)}`, [id]);
    await lookAroundReceipts(victim, look);
    await lookWithCursors(pulse, victim, look);
  }
  return seen;
}

/** Receipts are positions, so a stranger can guess them: with its own name, the victim's, and none. */
async function lookAroundReceipts(
  victim: Victim,
  look: (path: string, echoes?: readonly string[]) => Promise<void>,
): Promise<void> {
  for (const receipt of victim.receipts) {
    const [, epoch, partition, offset] = receipt.split('.').map(Number) as [number, number, number, number];
    for (const near of [offset - 1, offset, offset + 1].filter((value) => value >= 0)) {
      for (const name of ['stranger', victim.tenantId]) {
        const id = `rcp_${name}.${epoch}.${partition}.${near}`;
        await look(`/v1/receipts/${id}`, [victim.tenantId]);
      }
    }
  }
}

/** Cursors are not signed, so a stranger may hold one of the victim's. */
async function lookWithCursors(
  pulse: RunningPulse,
  victim: Victim,
  look: (path: string) => Promise<void>,
): Promise<void> {
  for (const path of [
    '/v1/events',
    '/v1/dead-letters',
    '/v1/audit',
    '/v1/usage',
    `/v1/tenants/${victim.tenantId}/keys`,
  ]) {
    const page = (await pulse.get(`${path}?limit=1`, victim.key)).body as { next_cursor?: string | null };
    const cursor = page.next_cursor;
    if (typeof cursor === 'string' && !path.includes(victim.tenantId))
      await look(`${path}?cursor=${encodeURIComponent(cursor)}&limit=100`);
  }
}

/** All that a live tail sends within a while, when it asks for everything from the beginning. */
async function listen(pulse: RunningPulse, key: string, lastEventId: string, ms: number): Promise<string> {
  const { port } = new URL(pulse.url);
  const socket = connect(Number(port), '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString()));
  socket.write(
    `GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: ${key}\r\nLast-Event-ID: ${lastEventId}\r\n\r\n`,
  );
  await new Promise((resolve) => setTimeout(resolve, ms));
  socket.destroy();
  return text;
}

function assertNoCanary(victims: readonly Victim[], { what, text }: Seen): void {
  const lower = text.toLowerCase();
  for (const planted of victims.flatMap((victim) => victim.canaries)) {
    assert.ok(
      !lower.includes(planted),
      `${what} shows ${planted}: …${lower.slice(Math.max(0, lower.indexOf(planted) - 200)).slice(0, 400)}`,
    );
    assert.ok(
      !text.includes(Buffer.from(planted).toString('base64').slice(0, -4)),
      `${what} shows ${planted} in base64`,
    );
  }
}

test('no canary of one tenant reaches another, nor any log line', async (t: TestContext) => {
  const dataDirectory = await temporaryDirectory(t);
  const pulse = await startPulse(t, { dataDirectory, environment: { PULSE_LOG_LEVEL: 'debug' } });
  const victims = [await makeVictim(pulse, 'shared'), await makeVictim(pulse, 'dedicated')];
  const stranger = await makeTenant(pulse, 'stranger', 'Stranger', 'shared');
  const secrets = [pulse.adminToken, pulse.demoKey, stranger, ...victims.map((victim) => victim.key)];

  await t.test('the canaries are there: their own tenant finds them', async () => {
    for (const victim of victims) {
      const own = `${JSON.stringify((await pulse.get('/v1/events', victim.key)).body)} ${JSON.stringify((await pulse.get('/v1/dead-letters', victim.key)).body)}`;
      for (const what of ['event-id', 'data', 'dead-data', 'member-value', 'ce-extension', 'user-agent']) {
        const planted = victim.canaries.find((name) =>
          name.endsWith(`_${what.replaceAll('-', '_')}`),
        ) as string;
        assert.ok(own.includes(planted), what);
      }
      assert.match(await listen(pulse, victim.key, 'events.valid=0.0.0.0.0.0', 300), /HTTP\/1.1 200/);
    }
  });
  await t.test(
    'no route shows one to a stranger: lists, single things, guessed receipts, copied cursors, errors',
    async () => {
      const seen = await lookEverywhere(pulse, stranger, victims);
      t.diagnostic(
        `${seen.length} answers searched for ${victims.flatMap((victim) => victim.canaries).length} canaries`,
      );
      for (const one of seen) assertNoCanary(victims, one);
    },
  );
  await t.test('the live tail shows none, from the beginning of every topic', async () => {
    const topics = [
      'events.valid=0.0.0.0.0.0',
      ...victims.flatMap(({ tenantId }) =>
        ['raw', 'valid', 'dlq'].map((name) => `${tenantId}.events.${name}=0`),
      ),
      'events.raw=0.0.0.0.0.0',
      'events.dlq=0.0.0',
    ];
    assert.equal(
      (await pulse.post('/v1/collect', { event_type: 'own', data: { n: 1 } }, { credential: stranger }))
        .status,
      202,
    );
    const text = await listen(pulse, stranger, topics.join(','), 1_500);
    assert.match(text, /"own"/, 'the tail works');
    assertNoCanary(victims, { what: 'stream', text });
  });
  await t.test('the ids and keys of one tenant are free for another', async () => {
    for (const victim of victims) {
      const headers = { 'idempotency-key': `"${victim.idempotencyKey}"` };
      const answer = await pulse.post(
        '/v1/collect',
        { event_type: 'own', event_id: victim.eventIds[0], data: { n: 1 } },
        { credential: stranger, headers },
      );
      assert.equal(answer.status, 202, JSON.stringify(answer.body));
      assert.equal(answer.headers.get('idempotency-replayed'), null);
      const { receipt_id: id } = (answer.body as { receipts: { receipt_id: string }[] }).receipts[0] as {
        receipt_id: string;
      };
      await waitFor(
        async () =>
          ((await pulse.get(`/v1/receipts/${id}`, stranger)).body as { state: string }).state === 'stored',
        { timeoutMs: 10_000, what: () => 'the own event with the same id to be stored' },
      );
    }
  });
  await t.test('no process shows a secret in its command line', () => {
    const supervisor = /"process":"supervisor","pid":(\d+)/.exec(pulse.output())?.[1];
    for (const pid of processTree(Number(supervisor))) {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      for (const secret of secrets) assert.ok(!line.includes(secret), line);
    }
  });
  await refuseAll(pulse, secrets);
  assert.equal(await pulse.stop(), 0);
  await t.test('no log line of any process holds data of an event or a secret, at the level debug', () => {
    const passwords =
      readFileSync(join(dataDirectory, 'postgres-secrets.json'), 'utf8').match(/[A-Za-z0-9_-]{20,}/g) ?? [];
    assert.ok(passwords.length >= 1);
    const lines = pulse
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{'));
    assert.ok(
      lines.some((line) => line.includes('"process":"front"')) &&
        lines.some((line) => line.includes('"process":"worker"')),
    );
    for (const line of [...lines, ...postgresLog(dataDirectory)]) {
      for (const secret of [
        ...secrets,
        ...passwords,
        ...secrets.map((key) => btoa(`${key}:`).slice(0, 40)),
      ]) {
        assert.ok(
          !line.includes(secret),
          `a secret is logged: ${line.replaceAll(secret, '<secret>').slice(0, 500)}`,
        );
      }
      for (const planted of victims.flatMap((victim) => victim.canaries)) {
        // Names that the operator knows and request ids, which exist to be logged.
        if (/\d_(tenant|request_id)$/.test(planted)) continue;
        assert.ok(!line.includes(planted), `${planted} is logged: ${line.slice(0, 600)}`);
      }
    }
  });
});

/** Credentials that are refused in every way, so that refusals had something to log. */
async function refuseAll(pulse: RunningPulse, secrets: readonly string[]): Promise<void> {
  for (const secret of secrets) {
    const tried = [
      { authorization: `Basic ${btoa(`nobody:${secret}x`)}` },
      { authorization: `Bearer ${secret}x` },
      { authorization: `Digest ${secret}` },
      { 'x-api-key': `${secret},${secret}` },
      { 'x-api-key': secret, authorization: `Bearer ${secret}x` },
    ];
    for (const headers of tried) {
      for (const [method, path] of [
        ['GET', '/v1/events'],
        ['POST', '/v1/collect'],
      ] as const) {
        const answer = await ask(pulse.url, { method, path, headers });
        assert.equal(answer.status, 401, answer.text);
        assert.ok(!answer.text.includes(secret), 'a refusal repeats the credential');
      }
    }
  }
}

function postgresLog(dataDirectory: string): string[] {
  const folder = join(dataDirectory, 'postgres', 'log');
  return readdirSync(folder).flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'));
}
