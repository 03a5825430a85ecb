// Attacks below HTTP's usual clients, over plain sockets: smuggling, garbage, half requests, floods of connections.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { ask } from './http.ts';
import type { World } from './world.ts';

const crlf = '\r\n';
const waitMs = 5_000;

function open(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {}); // The other side may cut it off at any time; what came before counts.
  return socket;
}

/** What comes back until the other side closes, `until` matches, or a few seconds have gone by. */
async function talk(
  url: string,
  bytes: string | Buffer,
  until?: RegExp,
): Promise<{ text: string; isClosed: boolean }> {
  const socket = open(url);
  let text = '';
  return await new Promise((resolve) => {
    const end = (isClosed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, isClosed });
    };
    const timer = setTimeout(() => end(false), waitMs);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (until?.test(text) === true) end(false);
    });
    socket.on('close', () => end(true));
    socket.write(bytes);
  });
}

function statuses(text: string): number[] {
  return [...text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map((match) => Number(match[1]));
}

function keyOf(world: World): string {
  return world.credentials.owner['x-api-key'] as string;
}

async function isResponsive(world: World): Promise<void> {
  const startedMs = performance.now();
  const answers = await Promise.all([
    ask(world.pulse.url, { method: 'GET', path: '/v1/events?limit=1', headers: world.credentials.read }),
    ask(world.pulse.url, {
      method: 'POST',
      path: '/v1/collect',
      headers: { ...world.credentials.ingest, 'content-type': 'application/json' },
      body: '{"event_type":"neighbour","data":{}}',
    }),
  ]);
  assert.deepEqual(
    answers.map((answer) => answer.status),
    [200, 202],
  );
  assert.ok(performance.now() - startedMs < 3_000, 'neighbours are served');
}

/** Each message hides a second request in what one of two readers takes for the body of the first. */
const smuggled = `GET /smuggled HTTP/1.1${crlf}Host: x${crlf}${crlf}`;
const framings: readonly string[] = [
  `Content-Length: 0${crlf}Content-Length: ${smuggled.length}`,
  `Content-Length: ${smuggled.length}${crlf}Content-Length: 0`,
  `Content-Length: 0, ${smuggled.length}`,
  `Content-Length: 3${crlf}Transfer-Encoding: chunked`,
  `Transfer-Encoding: chunked${crlf}Content-Length: 3`,
  `Transfer-Encoding: chunked, identity${crlf}Content-Length: 3`,
  `Transfer-Encoding: xchunked${crlf}Content-Length: 3`,
  `Transfer-Encoding:\x0bchunked${crlf}Content-Length: 3`,
  `Transfer-Encoding : chunked${crlf}Content-Length: 3`,
  `X: y\nTransfer-Encoding: chunked${crlf}Content-Length: 3`,
  `X: y${crlf} Transfer-Encoding: chunked${crlf}Content-Length: 3`,
  `Content-Length: +3`,
  `Content-Length: -1`,
  `Content-Length: 0x3`,
  `Content-Length: 3a`,
  `Content-Length: 99999999999999999999`,
  `Transfer-Encoding: chunked${crlf}Transfer-Encoding: identity`,
  `Content_Length: 3${crlf}Transfer-Encoding: chunked${crlf}Content-Length: 0`,
];

const garbage: readonly (string | Buffer)[] = [
  'GET /v1/events HTTP/0.9\r\n\r\n',
  'GET /v1/events HTTP/3.0\r\n\r\n',
  'GET /v1/events\r\n\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
  Buffer.alloc(4096, 0),
  Buffer.alloc(4096, 0xff),
  'GET /v1/events\x00/x HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /v1/ev ents HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /v1/events HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n',
  'GET /v1/events HTTP/1.1\r\nHost x\r\n\r\n',
  `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  `GET /v1/events HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`,
  `GET /v1/events HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(5_000)}\r\n`,
  `POST /v1/collect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
  `POST /v1/collect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n`,
  `POST /v1/collect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\na\r\n`,
  'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
  '\r\n\r\n\r\n\r\nnothing\r\n\r\n',
];

/** Each attack leaves a Pulse that serves its neighbours. */
export const hostileConnections: Readonly<Record<string, (world: World) => Promise<void>>> = {
  'a request that two readers would frame differently is never read as two': async (world) => {
    for (const framing of framings) {
      for (const path of ['/v1/collect', '/v1/tenants']) {
        const head = `POST ${path} HTTP/1.1${crlf}Host: x${crlf}X-API-Key: ${keyOf(world)}${crlf}${framing}${crlf}${crlf}`;
        const { text } = await talk(world.pulse.url, `${head}0${crlf}${crlf}${smuggled}`, /HTTP\/1\.1 [45]/);
        assert.deepEqual(
          statuses(text).filter((status) => status < 400 || status >= 500),
          [],
          `${framing}: ${text.slice(0, 200)}`,
        );
        assert.ok(!text.includes('/smuggled'), framing);
      }
    }
  },
  'bytes that are no request end their connection with a 4xx or nothing': async (world) => {
    for (const bytes of garbage) {
      const { text } = await talk(world.pulse.url, bytes, /\r\n\r\n[\s\S]+/);
      assert.deepEqual(
        statuses(text).filter((status) => status < 400 || status >= 500),
        [],
        `${bytes.toString('latin1').slice(0, 80)}: ${text.slice(0, 200)}`,
      );
      if (text !== '')
        assert.match(text, /application\/problem\+json/, bytes.toString('latin1').slice(0, 80));
    }
    await isResponsive(world);
  },
  'hundreds of pipelined requests are answered in their order': async (world) => {
    const paths = ['/v1/events?limit=1', '/healthz', '/nowhere', '/v1/events/%', '/v1/events?limit=0'];
    const requests = Array.from(
      { length: 300 },
      (_, n) =>
        `GET ${paths[n % paths.length]} HTTP/1.1${crlf}Host: x${crlf}X-API-Key: ${keyOf(world)}${crlf}X-Request-Id: r${n}.${crlf}${crlf}`,
    );
    const { text } = await talk(world.pulse.url, requests.join(''), /x-request-id: r299\./i);
    const order = [...text.matchAll(/x-request-id: r(\d+)\./gi)].map((match) => Number(match[1]));
    assert.deepEqual(
      order,
      order.map((_, n) => n),
    );
    assert.equal(order.length, 300);
  },
  'Expect: 100-continue is honoured, another expectation is refused': async (world) => {
    const head = `POST /v1/collect HTTP/1.1${crlf}Host: x${crlf}X-API-Key: ${keyOf(world)}${crlf}Content-Type: application/json${crlf}Content-Length: 34${crlf}`;
    const body = '{"event_type":"slow","data":{}}   ';
    const { text } = await talk(world.pulse.url, `${head}Expect: 100-continue${crlf}${crlf}${body}`, / 202 /);
    assert.deepEqual(statuses(text), [100, 202]);
    const refused = await talk(world.pulse.url, `${head}Expect: magic${crlf}${crlf}`, /HTTP\/1\.1 4/);
    assert.deepEqual(statuses(refused.text), [417]);
  },
  'HEAD, OPTIONS, TRACE, upgrades and odd spellings of a path give no way in': async (world) => {
    for (const method of ['HEAD', 'OPTIONS', 'TRACE', 'PUT', 'PROPFIND', 'QUERY']) {
      for (const path of ['/v1/events', '/v1/tenants', '/v1/collect', '/v1/events/stream']) {
        const { status, headers } = await ask(world.pulse.url, { method, path });
        assert.ok([400, 401, 404, 405].includes(status), `${method} ${path}: ${status}`);
        assert.equal(headers['access-control-allow-origin'], undefined);
      }
    }
    for (const protocol of ['websocket', 'h2c', 'TLS/1.0']) {
      const upgrade = {
        connection: 'Upgrade, HTTP2-Settings',
        upgrade: protocol,
        'http2-settings': 'AAMAAABkAAQAAP__',
      };
      assert.equal(
        (await ask(world.pulse.url, { method: 'GET', path: '/v1/events', headers: upgrade })).status,
        401,
      );
    }
    const spellings = [
      '/v1/%65vents',
      '/V1/events',
      '//v1/events',
      '/v1//events',
      '/v1/./events',
      '/x/../v1/events',
      '/v1/events/',
      '/v1/events;x',
      '/v1/events%2f',
      'http://x/v1/events',
      '/v1\\events',
    ];
    for (const path of spellings) {
      assert.ok([401, 404].includes((await ask(world.pulse.url, { method: 'GET', path })).status), path);
    }
    for (const path of ['/v1/%63ollect', 'http://x/v1/collect', '/v1/collect#x', '/%65vents']) {
      const answer = await ask(world.pulse.url, {
        method: 'POST',
        path,
        body: '{"event_type":"a","data":{}}',
      });
      assert.equal(answer.status, 401, `${path}: ${answer.text}`);
      const own = await ask(world.pulse.url, {
        method: 'POST',
        path,
        headers: world.credentials.ingest,
        body: '{"event_type":"a","data":{}}',
      });
      assert.equal(own.status, 202, `${path}: ${own.text}`);
    }
  },
  'JSON that reaches for prototypes, nests without end or is too large is refused': async (world) => {
    const headers = { ...world.credentials.platform, 'content-type': 'application/json' };
    const bodies: [string, number][] = [
      ['{"__proto__":{"tenant_id":"x"}}', 400],
      ['{"constructor":{"prototype":{"tenant_id":"x"}}}', 400],
      [`${'['.repeat(500_000)}`, 400],
      [`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, 400],
      [`"${'x'.repeat(1_100_000)}"`, 413],
    ];
    for (const [body, status] of bodies) {
      const answer = await ask(world.pulse.url, { method: 'POST', path: '/v1/tenants', headers, body });
      assert.equal(answer.status, status, `${body.slice(0, 40)}: ${answer.text.slice(0, 200)}`);
    }
    await isResponsive(world);
  },
  'a very long Last-Event-ID is ignored or refused': async (world) => {
    for (const id of [
      'events.valid=0,'.repeat(1_000),
      'x'.repeat(15_000),
      'events.valid='.padEnd(15_000, '0.'),
    ]) {
      const answer = await ask(world.pulse.url, {
        method: 'GET',
        path: '/v1/events/stream',
        headers: { ...world.credentials.read, 'last-event-id': id },
      });
      assert.ok([200, 400].includes(answer.status), `${answer.status}`);
    }
  },
  'hundreds of half requests keep no neighbour waiting': async (world) => {
    const halves = [
      'GET /v1/events HT',
      'POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-Slow: ',
      `POST /v1/collect HTTP/1.1\r\nHost: x\r\nX-API-Key: ${keyOf(world)}\r\nContent-Length: 1000000\r\n\r\n{"a`,
      `POST /v1/tenants HTTP/1.1\r\nHost: x\r\nX-API-Key: ${world.pulse.adminToken}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a`,
    ];
    const sockets = Array.from({ length: 800 }, (_, n) => {
      const socket = open(world.pulse.url);
      socket.write(halves[n % halves.length] as string);
      return socket;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await isResponsive(world);
    for (const socket of sockets) socket.destroy();
  },
  'slow searches of one tenant are ended in time, and keep no other tenant waiting': async (world) => {
    const q = encodeURIComponent('$.**.**.** ? (@ like_regex "^(a|aa)+$" && @ == "z")');
    const search = {
      method: 'GET',
      path: `/v1/events?q=${q}`,
      headers: world.credentials.read,
      timeoutMs: 30_000,
    };
    const slow = Array.from({ length: 16 }, () => ask(world.pulse.url, search));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const startedMs = performance.now();
    const neighbour = { method: 'GET', path: '/v1/events?limit=1', headers: world.credentials.foreign };
    assert.equal((await ask(world.pulse.url, neighbour)).status, 200);
    const key = await world.makeKey('beta', ['read']);
    const revoked = await ask(world.pulse.url, {
      method: 'DELETE',
      path: `/v1/tenants/beta/keys/${key.key_id}`,
      headers: world.credentials.platform,
    });
    assert.equal(revoked.status, 200);
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < 2_000, `neighbours waited ${tookMs} ms`);
    const ended = (await Promise.all(slow)).map(({ status }) => status);
    assert.ok(ended.every((status) => [422, 429].includes(status)) && ended.includes(422), ended.join());
  },
  'a thousand live tails are served, more are refused, and their places become free again': async (world) => {
    const sockets: Socket[] = [];
    let refused = 0;
    let served = 0;
    const head = `GET /v1/events/stream HTTP/1.1${crlf}Host: x${crlf}X-API-Key: ${keyOf(world)}${crlf}${crlf}`;
    await Promise.all(
      Array.from({ length: 1_200 }, async () => {
        const socket = open(world.pulse.url);
        sockets.push(socket);
        const status = await new Promise<number>((resolve) => {
          socket.once('data', (chunk) => resolve(statuses(chunk.toString())[0] ?? 0));
          socket.once('close', () => resolve(0));
          socket.write(head);
        });
        if (status === 200) served++;
        else if (status === 503) refused++;
      }),
    );
    assert.deepEqual({ served, refused }, { served: 1_000, refused: 200 });
    await isResponsive(world);
    for (const socket of sockets) socket.destroy();
    let status = 0;
    for (let tries = 0; status !== 200 && tries < 50; tries++) {
      status = (
        await ask(world.pulse.url, {
          method: 'GET',
          path: '/v1/events/stream',
          headers: world.credentials.read,
        })
      ).status;
      if (status !== 200) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.equal(status, 200);
  },
};
