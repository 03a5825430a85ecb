// Every route × every kind of credential: who is let in, who is refused, and that a foreign thing answers like one that never was.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { type Answer, ask, problemFault } from './http.ts';
import { hiddenRoutes, pathOf, type Route, routes } from './routes.ts';
import { type Caller, makeWorld, victim, type World } from './world.ts';

const anyone: readonly Caller[] = [
  'none',
  'malformed',
  'revoked',
  'ingest',
  'read',
  'owner',
  'foreign',
  'platform',
];
const mayCall: Readonly<Record<Route['needs'], readonly Caller[]>> = {
  open: anyone,
  ingest: ['ingest', 'owner', 'foreign'],
  read: ['read', 'owner', 'foreign', 'platform'],
  admin: ['owner', 'foreign', 'platform'],
  platform: ['platform'],
};

let requests = 0;

async function send(world: World, name: string, caller: Caller, path: string): Promise<Answer> {
  const [method] = name.split(' ') as [string];
  const body = routes[name]?.body?.(++requests);
  const headers = {
    ...world.credentials[caller],
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const answer = await ask(world.pulse.url, {
    method,
    path,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  assert.ok(answer.status < 500, `${caller}: ${name} answered ${answer.status}: ${answer.text}`);
  if (answer.status >= 400) assert.equal(problemFault(answer), null, `${caller}: ${name}: ${answer.text}`);
  return answer;
}

/** What the answer says, without what differs in every answer, and without the names that the caller has sent. */
function told(answer: Answer, sent: Readonly<Record<string, string>>): string {
  const { request_id: _, ...body } = JSON.parse(answer.text) as Record<string, unknown>;
  const names = Object.entries(sent).flatMap(([name, value]) => [[value, `{${name}}`]] as [string, string][]);
  return names.reduce(
    (text, [value, name]) => text.replaceAll(value, name),
    `${answer.status} ${JSON.stringify(body)}`,
  );
}

/** The status that a caller gets for things of the victim. */
function expected(route: Route, caller: Caller): number {
  if (route.needs === 'open') return route.ok;
  if (caller === 'none' || caller === 'malformed' || caller === 'revoked') return 401;
  if (!mayCall[route.needs].includes(caller)) return 403;
  if (caller === 'platform' && route.actsOnOneTenant === true) return 400;
  return caller === 'foreign' && route.own !== undefined ? 404 : route.ok;
}

test('every route admits who may call it, refuses all others, and tells nothing of a foreign tenant', async (t) => {
  const world = await makeWorld(t);
  const document = JSON.parse(
    (await ask(world.pulse.url, { method: 'GET', path: '/openapi.json' })).text,
  ) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const served = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  await t.test('every route is classified', () => {
    assert.deepEqual(
      served.sort(),
      Object.keys(routes).sort(),
      'routes.ts must say who may call a new route',
    );
  });
  await t.test('every route without a description is known to be open', () => {
    const root = resolve(import.meta.dirname, '..', '..', 'src');
    const hidden = globSync('**/*.ts', { cwd: root }).flatMap((file) =>
      [
        ...readFileSync(resolve(root, file), 'utf8').matchAll(
          /app\.\w+\(\s*'([^']+)',\s*\{ schema: \{ hide: true/g,
        ),
      ].map((match) => match[1]),
    );
    assert.ok(hidden.length >= 3, 'the pattern finds the routes');
    for (const path of hidden)
      assert.ok(hiddenRoutes.includes(path as string), `${path} is hidden and not classified`);
  });
  for (const [name, route] of Object.entries(routes)) {
    const template = name.slice(name.indexOf(' ') + 1);
    for (const caller of anyone) {
      await t.test(`${name} as ${caller}`, async () => {
        const isConsumed = route.consume !== undefined && expected(route, caller) === route.ok;
        const own = isConsumed ? await route.consume?.(world) : route.own?.(world);
        const answer = await send(world, name, caller, pathOf(template, own ?? {}));
        assert.equal(answer.status, expected(route, caller), answer.text);
        if (answer.status === 401) assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer/);
      });
    }
    if (route.own !== undefined) {
      await t.test(`${name} answers a stranger alike for a foreign thing and for none`, async () => {
        const own = route.own?.(world) ?? {};
        const nowhere = route.nowhere ?? {};
        const foreign = await send(world, name, 'foreign', pathOf(template, own));
        const unknown = await send(world, name, 'foreign', pathOf(template, nowhere));
        assert.equal(told(foreign, own), told(unknown, nowhere));
      });
    }
    if (route.filtersByTenant === true) {
      await t.test(`${name} answers a stranger alike for a foreign tenant_id and for none`, async () => {
        const path = pathOf(template, route.own?.(world) ?? {});
        const foreign = await send(world, name, 'foreign', `${path}?tenant_id=${victim}`);
        const unknown = await send(world, name, 'foreign', `${path}?tenant_id=gamma`);
        assert.equal(foreign.status, 403);
        assert.equal(told(foreign, { tenant_id: victim }), told(unknown, { tenant_id: 'gamma' }));
        const own = await send(world, name, 'owner', `${path}?tenant_id=${victim}`);
        assert.equal(own.status, route.ok, own.text);
        const nobody = await send(world, name, 'platform', `${path}?tenant_id=gamma`);
        assert.equal(nobody.status, 404, 'only the administrator learns which tenants there are');
      });
    }
  }
  await t.test('an owner cannot lift its own limits or suspension', async () => {
    for (const change of [{ limits: { requests_per_minute: 9 } }, { status: 'active' }]) {
      const answer = await ask(world.pulse.url, {
        method: 'PATCH',
        path: `/v1/tenants/${victim}`,
        headers: { ...world.credentials.owner, 'content-type': 'application/json' },
        body: JSON.stringify(change),
      });
      assert.equal(answer.status, 403, answer.text);
    }
  });
  await t.test('no header, body or second credential lends another identity', async () => {
    const { foreign, owner } = world.credentials;
    const path = `/v1/events/${encodeURIComponent(world.eventId)}`;
    const tricks: Record<string, string>[] = [
      { 'x-tenant-id': victim, 'pulse-tenant': victim, pulse_tenant: victim },
      {
        'x-forwarded-for': '127.0.0.1',
        forwarded: 'for=127.0.0.1',
        'x-original-url': path,
        'x-rewrite-url': path,
      },
      { 'x-http-method-override': 'GET', cookie: `api_key=${owner['x-api-key']}` },
    ];
    for (const trick of tricks) {
      const answer = await ask(world.pulse.url, { method: 'GET', path, headers: { ...foreign, ...trick } });
      assert.equal(answer.status, 404, JSON.stringify(trick));
    }
    const two = { ...foreign, authorization: `Bearer ${owner['x-api-key']}` };
    assert.equal((await ask(world.pulse.url, { method: 'GET', path, headers: two })).status, 401);
    const twice = { 'x-api-key': `${foreign['x-api-key']}, ${owner['x-api-key']}` };
    assert.equal((await ask(world.pulse.url, { method: 'GET', path, headers: twice })).status, 401);
    assert.equal(
      (await ask(world.pulse.url, { method: 'GET', path: `${path}?api_key=${owner['x-api-key']}` })).status,
      401,
    );
  });
});
