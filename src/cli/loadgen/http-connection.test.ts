import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { type ConnectionEnd, type ConnectionEvents, HttpConnection } from './http-connection.ts';

const request = Buffer.from('POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}');

interface Seen {
  status: number;
  body: string;
  retryAfterMs: number;
}

/** Sends `count` requests one after the other and gives what came back and how it ended, if it ended. */
async function exchange(
  t: TestContext,
  server: Server,
  count = 1,
): Promise<{ seen: Seen[]; end: ConnectionEnd | null }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const seen: Seen[] = [];
  const finished = Promise.withResolvers<ConnectionEnd | null>();
  const events: ConnectionEvents = {
    ready: (connection) => connection.send(request),
    answer: (connection, status, bytes, start, end) => {
      seen.push({ status, body: bytes.toString('utf8', start, end), retryAfterMs: connection.retryAfterMs });
      if (seen.length >= count) {
        // Let a close that came with the answer be seen first.
        setImmediate(() => finished.resolve(null));
      } else if (connection.isOpen) connection.send(request);
    },
    closed: (_, end) => finished.resolve(end),
  };
  const connection = new HttpConnection(0, { host: '127.0.0.1', port }, events);
  t.after(() => {
    connection.destroy('test');
    server.close();
  });
  connection.open();
  return { end: await finished.promise, seen };
}

function http(listener: RequestListener): Server {
  return createHttpServer(listener);
}

/** A server that answers each request with these pieces, written one by one. */
function raw(pieces: readonly string[], thenEnd = false): Server {
  return createServer((socket: Socket) => {
    socket.on('error', () => {});
    socket.setNoDelay(true);
    socket.on('data', () => {
      void (async () => {
        for (const piece of pieces) {
          socket.write(piece);
          await new Promise((resume) => setTimeout(resume, 3));
        }
        if (thenEnd) socket.end();
      })();
    });
  });
}

describe('HttpConnection', () => {
  test('sends many requests over one connection of a real server', async (t) => {
    let connections = 0;
    const server = http((incoming, response) => {
      incoming.resume().on('end', () => response.writeHead(202).end('{"accepted":1}'));
    });
    server.on('connection', () => connections++);
    const { seen } = await exchange(t, server, 50);
    assert.equal(seen.length, 50);
    assert.deepEqual(new Set(seen.map((each) => each.body)), new Set(['{"accepted":1}']));
    assert.equal(connections, 1);
  });

  test('reads a chunked answer of a real server', async (t) => {
    const server = http((_, response) => {
      response.writeHead(200);
      response.write('one ');
      setTimeout(() => {
        response.write('two ');
        response.end('three');
      }, 5);
    });
    const { seen } = await exchange(t, server, 2);
    assert.deepEqual(
      seen.map((each) => each.body),
      ['one two three', 'one two three'],
    );
  });

  test('reads an answer that comes byte by byte', async (t) => {
    const answer = 'HTTP/1.1 429 Too Many\r\nRetry-After: 17\r\nContent-Length: 5\r\n\r\nhello';
    const { seen } = await exchange(t, raw([...answer]));
    assert.deepEqual(seen, [{ status: 429, body: 'hello', retryAfterMs: 17_000 }]);
  });

  test('reads an answer without a length up to the end of the connection', async (t) => {
    const { seen } = await exchange(t, raw(['HTTP/1.1 200 OK\r\n\r\nall', ' of it'], true));
    assert.deepEqual(
      seen.map((each) => each.body),
      ['all of it'],
    );
  });

  test('counts a connection as closed behind an answer that says so', async (t) => {
    const server = http((_, response) => response.writeHead(503, { connection: 'close' }).end('{}'));
    const { seen, end } = await exchange(t, server, 2);
    assert.deepEqual(
      seen.map((each) => each.status),
      [503],
    );
    assert.equal(end?.hadRequest, false);
  });

  test('says that a request is left open when the server breaks off', async (t) => {
    const { seen, end } = await exchange(t, raw(['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf'], true));
    assert.equal(seen.length, 0);
    assert.deepEqual([end?.wasOpen, end?.hadRequest], [true, true]);
  });

  test('gives up on a server that does not speak HTTP', async (t) => {
    const { end } = await exchange(t, raw(['SSH-2.0-OpenSSH_9.2 and more\r\n']));
    assert.equal(end?.reason, 'no HTTP/1.1 answer');
  });

  test('reports a refused connection by its code', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    const end = await new Promise<ConnectionEnd>((resolve) => {
      const events = {
        ready: () => {},
        answer: () => {},
        closed: (_: HttpConnection, how: ConnectionEnd) => resolve(how),
      };
      new HttpConnection(0, { host: '127.0.0.1', port }, events).open();
    });
    assert.deepEqual(end, { reason: 'ECONNREFUSED', wasOpen: false, hadRequest: false });
  });
});
