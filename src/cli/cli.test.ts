import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { runCli } from './cli.ts';
import { credentialOf } from './connection.ts';

interface Result {
  code: number;
  out: string;
  error: string;
}

async function run(words: readonly string[], environment: Record<string, string> = {}): Promise<Result> {
  const out: string[] = [];
  const error: string[] = [];
  const code = await runCli({
    words,
    environment: { PULSE_DATA_DIR: '/nonexistent', ...environment },
    terminal: {
      out: (text) => out.push(text),
      error: (text) => error.push(text),
      isTerminal: false,
      columns: 100,
    },
    signal: new AbortController().signal,
  });
  return { code, out: out.join('\n'), error: error.join('\n') };
}

interface Call {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A server that answers every call with `reply` and keeps the calls. */
async function startServer(t: TestContext, reply: (call: Call) => { status: number; body: unknown }) {
  const calls: Call[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { method = '', url = '', headers } = request;
      const call = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') };
      calls.push(call);
      const { status, body } = reply(call);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { calls, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe('words', () => {
  for (const [words, text] of [
    [['lodgen'], /Did you mean 'loadgen'\?/],
    [['loadgen', '--rat', '5'], /--rat is no option of this command. Did you mean --rate\?/],
    [['loadgen', '--rate'], /--rate needs a value: --rate N/],
    [['loadgen', '--rate', 'fast', '--key', 'k'], /--rate='fast' is not a whole number from 1 to 200000/],
    [['loadgen', '--json=yes'], /--json takes no value/],
    [['receipt'], /A word is missing/],
    [['receipt', 'a', 'b'], /'b' is one word too many/],
    [['tenant', 'destroy', 'x', '--key', 'k'], /'destroy' is no action of tenant/],
    [['events', '--url', 'ftp://x'], /--url='ftp:\/\/x' is no http/],
  ] as const) {
    test(`refuses '${words.join(' ')}' with exit code 2`, async () => {
      const result = await run(words);
      assert.match(result.error, text);
      assert.equal(result.code, 2);
    });
  }

  test('shows every command in the help', async () => {
    const { out, code } = await run(['help']);
    assert.equal(code, 0);
    for (const name of ['start', 'doctor', 'send', 'tail', 'loadgen', 'backup'])
      assert.match(out, new RegExp(`\n  ${name} `));
    assert.match((await run(['loadgen', '--help'])).out, /--duplicates PERCENT/);
  });
});

describe('tail', () => {
  test('prints stored events as they come and ends after the wished number', async (t) => {
    const server = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      // Cut in the middle of a character, as networks do.
      const bytes = Buffer.from(
        ': hello\n\nevent: event\ndata: {"event_id":"e1","event_type":"t","data":{"city":"Köln"}}\n\n' +
          'event: dropped\ndata: {"events":3}\n\nevent: event\r\ndata: {"event_id":"e2","event_type":"t"}\r\n\r\n',
      );
      const middle = bytes.indexOf(0xc3) + 1;
      response.write(bytes.subarray(0, middle));
      setTimeout(() => response.write(bytes.subarray(middle)), 10);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { code, out } = await run(['tail', '--limit', '2', '--json', '--url', url, '--key', 'k']);
    assert.equal(code, 0);
    assert.deepEqual(
      out.split('\n').map((line) => JSON.parse(line) as unknown),
      [
        { event_id: 'e1', event_type: 't', data: { city: 'Köln' } },
        { stream: 'dropped', events: 3 },
        { event_id: 'e2', event_type: 't' },
      ],
    );
  });
});

describe('calls', () => {
  test('sends one event with the key of the environment and prints its receipt', async (t) => {
    const { calls, url } = await startServer(t, () => ({
      status: 202,
      body: {
        accepted: 1,
        rejected: 0,
        receipts: [{ index: 0, event_id: 'e1', receipt_id: 'rcp_demo.1.0.7' }],
        errors: [],
      },
    }));
    const event = '{"event_type":"order.created","data":{"n":9007199254740993}}';
    const result = await run(['send', event, '--url', url], { PULSE_API_KEY: 'pk_demo' });
    assert.equal(result.code, 0);
    assert.match(result.out, /e1\s+rcp_demo\.1\.0\.7/);
    const [call] = calls;
    assert.equal(call?.body, event);
    assert.equal(call?.headers.authorization, 'Bearer pk_demo');
    assert.match(String(call?.headers['idempotency-key']), /^[0-9a-f-]{36}$/);
  });

  test('waits for the receipt to settle and fails when it is a dead letter', async (t) => {
    let asked = 0;
    const { url } = await startServer(t, (call) =>
      call.method === 'POST'
        ? {
            status: 202,
            body: {
              accepted: 1,
              rejected: 0,
              receipts: [{ index: 0, event_id: 'e', receipt_id: 'r' }],
              errors: [],
            },
          }
        : {
            status: 200,
            body: { receipt_id: 'r', state: asked++ < 1 ? 'in_flight' : 'dead_letter', stages: {} },
          },
    );
    const result = await run(['send', '{}', '--wait', '--json', '--url', url, '--key', 'k']);
    assert.equal(result.code, 1);
    assert.equal(
      (JSON.parse(result.out) as { receipts: { state: string }[] }).receipts[0]?.state,
      'dead_letter',
    );
  });

  test('sends a file of lines as NDJSON', async (t) => {
    const { calls, url } = await startServer(t, () => ({
      status: 202,
      body: { accepted: 2, receipts: [], errors: [] },
    }));
    const folder = mkdtempSync(join(tmpdir(), 'pulse-cli-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'events.txt');
    writeFileSync(file, '{"event_type":"a"}\n{"event_type":"b"}\n');
    assert.equal((await run(['send', file, '--url', url, '--key', 'k'])).code, 0);
    assert.equal(calls[0]?.headers['content-type'], 'application/x-ndjson');
  });

  test('shows numbers exactly that JavaScript cannot hold', async (t) => {
    const server = createServer((_, response) => {
      response.end('{"events":[{"event_id":"e","data":{"big":9007199254740993,"huge":1e400,"plain":5}}]}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    for (const words of [['events'], ['events', '--json']]) {
      const { out } = await run([...words, '--url', url, '--key', 'k']);
      assert.match(out, /\{"big":9007199254740993,"huge":1e400,"plain":5\}/);
    }
  });

  test('prints a problem with its next move, as text and as JSON', async (t) => {
    const { url } = await startServer(t, () => ({
      status: 403,
      body: { code: 'PULSE_X_Y', title: 'No.', detail: 'Because.', next: 'Ask.', request_id: 'req_9' },
    }));
    const text = await run(['tenant', 'list', '--url', url, '--key', 'k']);
    assert.match(text.error, /No\. \(PULSE_X_Y, HTTP 403\)\nBecause\.\nNext: Ask\.\nRequest id: req_9/);
    assert.equal(text.code, 1);
    const json = await run(['tenant', 'list', '--url', url, '--key', 'k', '--json']);
    assert.equal((JSON.parse(json.out) as { error: { code: string } }).error.code, 'PULSE_X_Y');
  });

  test('follows the cursor until the wished number of rows', async (t) => {
    const { calls, url } = await startServer(t, (call) => {
      const page = call.url.includes('cursor=two') ? 2 : 1;
      const events = Array.from({ length: page === 1 ? 1000 : 200 }, (_, i) => ({
        event_id: `${page}-${i}`,
      }));
      return { status: 200, body: { events, next_cursor: page === 1 ? 'two' : null } };
    });
    const result = await run(['events', '--limit', '5000', '--json', '--url', url, '--key', 'k']);
    assert.equal((JSON.parse(result.out) as { events: unknown[] }).events.length, 1200);
    assert.equal(calls.length, 2);
  });

  test('fails a reconciliation that does not add up', async (t) => {
    const counts = { accepted: 10, stored: 7, duplicates: 1, dead_letters: 1, dropped: 0, in_flight: 0 };
    const { url } = await startServer(t, () => ({ status: 200, body: counts }));
    assert.equal((await run(['reconcile', '--url', url, '--key', 'k'])).code, 1);
    counts.in_flight = 1;
    assert.equal((await run(['reconcile', '--url', url, '--key', 'k'])).code, 0);
  });

  test('says that nothing answers with exit code 3', async () => {
    const result = await run(['tenant', 'list', '--url', 'http://127.0.0.1:9', '--key', 'k']);
    assert.equal(result.code, 3);
    assert.match(result.error, /Start it with `npm start`/);
  });

  test('asks for a credential before calling', async () => {
    const result = await run(['tenant', 'list']);
    assert.equal(result.code, 1);
    assert.match(result.error, /PULSE_CLI_CREDENTIAL_MISSING/);
  });

  test('sends load to this machine only unless told otherwise', async () => {
    const result = await run(['loadgen', '--url', 'http://203.0.113.7', '--key', 'k']);
    assert.match(result.error, /PULSE_CLI_HOST_REFUSED/);
  });
});

test('the administrator token of the data directory goes to no other machine', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pulse-cli-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'admin-token'), 'pat_secret\n', { mode: 0o600 });
  const environment = { PULSE_DATA_DIR: folder };
  assert.equal(credentialOf(undefined, 'http://127.0.0.1:8080', environment), 'pat_secret');
  assert.equal(credentialOf(undefined, 'http://localhost:1', environment), 'pat_secret');
  assert.equal(credentialOf(undefined, 'http://pulse.example:8080', environment), null);
  assert.equal(credentialOf('pk_own', 'http://pulse.example:8080', environment), 'pk_own');
});
