import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { LoadPlan } from './plan.ts';
import { type AcknowledgedEvent, Recorder } from './recorder.ts';
import { runLoad } from './run.ts';

interface Event {
  event_id: string;
  event_type: unknown;
  event_time: string;
}

/** A stand-in for collect: answers as /v1/collect does and keeps what it saw. */
interface Collect {
  readonly origin: string;
  readonly server: Server;
  readonly events: Event[];
  readonly keys: Set<string>;
  readonly idempotencyKeys: Set<string>;
  /** What to do with a request; null answers it as usual. */
  intercept: (response: ServerResponse, count: number) => boolean;
}

async function startCollect(t: TestContext): Promise<Collect> {
  let count = 0;
  const server = createServer((request, response) => {
    void readBody(request).then((text) => answer(collect, request, response, text, count++));
  });
  const collect: Collect = {
    origin: '',
    server,
    events: [],
    keys: new Set(),
    idempotencyKeys: new Set(),
    intercept: () => false,
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(collect, { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function answer(
  collect: Collect,
  request: IncomingMessage,
  response: ServerResponse,
  text: string,
  count: number,
): void {
  if (collect.intercept(response, count)) return;
  collect.keys.add(String(request.headers['x-api-key']));
  if (request.headers['idempotency-key'])
    collect.idempotencyKeys.add(String(request.headers['idempotency-key']));
  let events: Event[];
  try {
    const value: unknown = JSON.parse(text);
    events = (Array.isArray(value) ? value : [value]) as Event[];
  } catch {
    response.writeHead(400, { 'content-type': 'application/problem+json' });
    response.end('{"code":"PULSE_COLLECT_BODY_INVALID"}');
    return;
  }
  const receipts = events.map((event, index) => ({
    index,
    event_id: event.event_id,
    receipt_id: `rcp_load_0.1.0.${collect.events.length + index}`,
  }));
  collect.events.push(...events);
  response.writeHead(202, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ accepted: events.length, rejected: 0, receipts, errors: [] }));
}

function planFor(collect: Collect, changes: Partial<LoadPlan>): LoadPlan {
  return {
    origin: collect.origin,
    tenants: [
      { tenantId: 'load_0', apiKey: 'pk_short' },
      { tenantId: 'load_1', apiKey: 'pk_quite_a_bit_longer' },
    ],
    rate: null,
    connections: 8,
    durationMs: 20_000,
    requestsMax: 200,
    batch: 1,
    eventBytes: 400,
    duplicates: 0,
    malformed: 0,
    idempotencyKeys: false,
    seed: 42,
    reconnect: false,
    requestTimeoutMs: 5_000,
    drainMs: 5_000,
    ...changes,
  };
}

describe('runLoad', () => {
  test('sends valid events of the wished size, each with an id of its own', async (t) => {
    const collect = await startCollect(t);
    const report = await runLoad(planFor(collect, { idempotencyKeys: true }));
    assert.equal(report.accepted.events, 200);
    assert.equal(report.latency_ms.max > 0, true);
    assert.equal(new Set(collect.events.map((event) => event.event_id)).size, 200);
    assert.equal(collect.idempotencyKeys.size, 200);
    assert.deepEqual(collect.keys, new Set(['pk_short', 'pk_quite_a_bit_longer']));
    const event = collect.events[7] as Event;
    assert.match(event.event_id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.ok(Math.abs(Date.parse(event.event_time) - Date.now()) < 60_000);
    assert.ok(Math.abs(JSON.stringify(event).length - 400) < 10);
  });

  test('makes the same events from the same seed', async (t) => {
    const ids = async (seed: number): Promise<string[]> => {
      const collect = await startCollect(t);
      await runLoad(planFor(collect, { seed, batch: 5, requestsMax: 20 }));
      return collect.events.map((event) => event.event_id).sort();
    };
    assert.deepEqual(await ids(5), await ids(5));
    assert.notDeepEqual(await ids(5), await ids(6));
  });

  test('repeats earlier ids, breaks envelopes and breaks JSON in the wished shares, and counts each apart', async (t) => {
    const collect = await startCollect(t);
    const report = await runLoad(planFor(collect, { requestsMax: 3_000, duplicates: 0.1, malformed: 0.1 }));
    const ids = collect.events.map((event) => event.event_id);
    assert.equal(ids.length - new Set(ids).size, report.sent.duplicates);
    assert.equal(collect.events.filter((event) => event.event_type === 17).length, report.sent.dead_letters);
    assert.equal(report.rejected.requests, report.sent.refusals);
    assert.equal(report.rejected.expected, report.sent.refusals);
    assert.deepEqual(report.by_code, { PULSE_COLLECT_BODY_INVALID: report.sent.refusals });
    for (const [share, wished] of [
      [report.sent.duplicates, 0.1],
      [report.sent.dead_letters, 0.05],
      [report.sent.refusals, 0.05],
    ] as const) {
      assert.ok(Math.abs(share / 3_000 - wished) < 0.02, `${share} of 3000 instead of ${wished}`);
    }
  });

  test('shows a stall of the server in the latency of every request that was due meanwhile', async (t) => {
    const collect = await startCollect(t);
    let stalledUntil = 0;
    collect.intercept = (_, count) => {
      // Blocks this process, so nothing is answered: 500 ms out of 1,500.
      if (count === 100) {
        stalledUntil = performance.now() + 500;
        while (performance.now() < stalledUntil);
      }
      return false;
    };
    const report = await runLoad(
      planFor(collect, { rate: 500, durationMs: 1_500, requestsMax: 1e6, connections: 4 }),
    );
    assert.equal(report.sent.requests, 750);
    // A third of the requests was due during the stall; only four were in flight. A closed view would say p95 < 10 ms.
    assert.ok(report.latency_ms.p95 > 300, `p95 ${report.latency_ms.p95} ms hides the stall`);
    assert.ok(report.latency_ms.max >= 450);
  });

  test('keeps an open loop at its rate', async (t) => {
    const collect = await startCollect(t);
    const report = await runLoad(planFor(collect, { rate: 300, durationMs: 1_000, requestsMax: 1e6 }));
    assert.equal(report.sent.requests, 300);
    assert.equal(report.unsent, 0);
    assert.ok(report.elapsed_ms > 900 && report.elapsed_ms < 1_500, `took ${report.elapsed_ms} ms`);
  });

  test('counts 429 apart and lets a closed loop wait for Retry-After', async (t) => {
    const collect = await startCollect(t);
    collect.intercept = (response) => {
      response.writeHead(429, { 'retry-after': '1' }).end('{"code":"PULSE_LIMIT"}');
      return true;
    };
    const report = await runLoad(planFor(collect, { durationMs: 500, connections: 4 }));
    assert.equal(report.throttled, 4);
    assert.equal(report.rejected.requests, 0);
  });

  test('goes on through a dropped connection when told to reconnect, and counts the answer as unknown', async (t) => {
    const collect = await startCollect(t);
    collect.intercept = (response, count) => {
      if (count !== 50) return false;
      response.socket?.destroy();
      return true;
    };
    const report = await runLoad(planFor(collect, { reconnect: true }));
    assert.equal(report.unknown, 1);
    assert.equal(report.connection_errors, 1);
    assert.equal(report.accepted.requests, 199);
  });

  test('ends with an error when nothing listens', async (t) => {
    const collect = await startCollect(t);
    collect.server.close();
    await once(collect.server, 'close');
    await assert.rejects(runLoad(planFor(collect, {})), { code: 'PULSE_CLI_UNREACHABLE' });
  });

  test('ends in bounded time when the server never answers', async (t) => {
    const collect = await startCollect(t);
    collect.intercept = () => true;
    const started = performance.now();
    const report = await runLoad(planFor(collect, { rate: 100, durationMs: 200, drainMs: 300 }));
    assert.ok(performance.now() - started < 2_000);
    assert.equal(report.accepted.requests, 0);
    assert.equal(report.unknown, 8);
    assert.equal(report.unsent, 12);
  });

  test('records every acknowledged event with its receipt and kind', async (t) => {
    const collect = await startCollect(t);
    const folder = mkdtempSync(join(tmpdir(), 'pulse-record-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'acknowledged.ndjson');
    const recorder = new Recorder(file);
    const report = await runLoad(planFor(collect, { batch: 3, duplicates: 0.2, malformed: 0.1 }), {
      recorder,
    });
    recorder.close();
    const lines = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as AcknowledgedEvent);
    assert.equal(lines.length, report.accepted.events);
    assert.deepEqual(
      lines.map((line) => line.event_id).sort(),
      collect.events.map((event) => event.event_id).sort(),
    );
    assert.equal(lines.filter((line) => line.kind === 'duplicate').length, report.sent.duplicates);
    assert.equal(new Set(lines.map((line) => line.receipt_id)).size, lines.length);
  });
});
