// Facts about dead letters in their table and over HTTP, on the real log and a real database.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type FastifyInstance, fastify } from 'fastify';
import { silentLogger, type TestScope } from '../../../tests/support/database.ts';
import { addKey, adminToken } from '../../../tests/support/tenancy.ts';
import { systemClock } from '../../core/clock.ts';
import { PulseError } from '../../core/errors.ts';
import { readSettings } from '../../core/settings.ts';
import type { LogRecord } from '../../ports/event-log/event-log.ts';
import { registerAuthentication } from '../../tenancy/request-authentication.ts';
import { processSettings } from '../config.ts';
import { asOwner, countsOf, type Pipeline, testPipeline, until, untilDone } from '../testing/pipeline.ts';
import { rawRecord } from '../testing/records.ts';
import { registerDeadLetterRoutes } from './routes.ts';
import { createDeadLetters, type DeadLettersStage } from './sink.ts';

interface Letter {
  readonly id: string;
  readonly tenant_id: string;
  readonly code: string;
  readonly event_id: string | null;
  readonly event_type: string | null;
  readonly errors: readonly { readonly pointer: string; readonly rule: string }[];
  readonly fingerprint: string;
  readonly receipt_id: string;
  readonly received_at: string;
  readonly payload: unknown;
  readonly payload_base64: string;
}

interface Page {
  readonly dead_letters: readonly Letter[];
  readonly next_cursor: string | null;
}

function startSink(t: TestScope, pipeline: Pipeline): DeadLettersStage {
  const stage = createDeadLetters({
    ...pipeline,
    clock: systemClock,
    logger: silentLogger,
    settings: readSettings(processSettings, {}),
  });
  t.after(() => stage.stop());
  stage.start().catch(assert.fail);
  return stage;
}

/** Waits until everything in raw is judged and everything in the dead-letter topic is in the table. */
async function untilWritten(pipeline: Pipeline, sink: DeadLettersStage): Promise<void> {
  await until(
    async () => {
      const done = sink.status().partitions;
      for (const { partition, end } of await pipeline.log.bounds('events.dlq')) {
        if ((done.find((one) => one.partition === partition)?.doneOffset ?? -2) < end - 1) return false;
      }
      return true;
    },
    () => sink.status(),
  );
}

async function write(
  t: TestScope,
  pipeline: Pipeline,
  records: readonly LogRecord[],
): Promise<DeadLettersStage> {
  await pipeline.log.append('events.raw', records);
  await untilDone(pipeline, await pipeline.start());
  const sink = startSink(t, pipeline);
  await untilWritten(pipeline, sink);
  return sink;
}

async function api(
  t: TestScope,
  pipeline: Pipeline,
): Promise<{ app: FastifyInstance; keys: Record<string, string> }> {
  const app = fastify();
  app.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof PulseError))
      return reply.code((error as { statusCode?: number }).statusCode ?? 500).send(error);
    return reply.code(error.status).send({ code: error.code });
  });
  registerAuthentication(app, { directory: pipeline.directory, adminToken });
  registerDeadLetterRoutes(app, pipeline);
  t.after(() => app.close());
  const keys: Record<string, string> = { admin: adminToken };
  for (const tenantId of ['acme', 'globex']) {
    keys[tenantId] = (await addKey(pipeline.database, tenantId, ['read'])).apiKey;
  }
  await pipeline.directory.refresh();
  return { app, keys };
}

async function get<Body>(
  app: FastifyInstance,
  url: string,
  key: string | undefined,
): Promise<{ status: number; body: Body; text: string }> {
  const answer = await app.inject({
    method: 'GET',
    url: `/v1/dead-letters${url}`,
    headers: { 'x-api-key': key ?? '' },
  });
  return { status: answer.statusCode, body: answer.json<Body>(), text: answer.body };
}

describe('the table of dead letters', () => {
  test('holds each dead letter once although its topic holds it twice and the sink starts again', async (t) => {
    const pipeline = await testPipeline(t);
    const first = await write(t, pipeline, [
      rawRecord('{broken'),
      rawRecord('{"event_type":5}'),
      rawRecord('{broken', { partition: 1 }),
    ]);
    await first.stop();
    const twice = await pipeline.log.read('events.dlq', 0, 0, { recordsMax: 10, bytesMax: 1_000_000 });
    await pipeline.log.append('events.dlq', twice);
    await asOwner(pipeline.ownerUrl, (client) =>
      client.query("DELETE FROM stage_positions WHERE stage = 'dead-letters'"),
    );
    await untilWritten(pipeline, startSink(t, pipeline));
    const { rows } = await asOwner(pipeline.ownerUrl, (client) =>
      client.query('SELECT partition, record_offset, stage FROM dead_letters ORDER BY 1, 2'),
    );
    assert.deepEqual(rows, [
      { partition: 0, record_offset: '0', stage: 'process' },
      { partition: 0, record_offset: '1', stage: 'process' },
      { partition: 1, record_offset: '0', stage: 'process' },
    ]);
    assert.deepEqual(await countsOf(pipeline.ownerUrl, 'dead_letters'), { dead_letter: 3 });
  });

  test('takes whatever stands in the topic', async (t) => {
    const pipeline = await testPipeline(t);
    const stranger = {
      partition: 1,
      key: null,
      value: Buffer.from([0, 255]),
      headers: {
        pulse_dead_letter_failures: '{not json',
        pulse_dead_letter_code: 'DROP TABLE',
        ce_id: 'a\0b',
        ce_x: '\ud800',
        pulse_attempt: '-4',
        pulse_received_at: 'never',
      },
    };
    await pipeline.log.append('events.dlq', [stranger, { ...stranger, headers: {} }]);
    await untilWritten(pipeline, startSink(t, pipeline));
    const { rows } = await asOwner(pipeline.ownerUrl, (client) =>
      client.query(
        'SELECT tenant_id, code, stage, event_id, attempts, payload FROM dead_letters ORDER BY record_offset',
      ),
    );
    const common = {
      tenant_id: '_platform',
      code: 'unknown',
      stage: 'unknown',
      attempts: 1,
      payload: Buffer.from([0, 255]),
    };
    assert.deepEqual(rows, [
      { ...common, event_id: 'a\ufffdb' },
      { ...common, event_id: null },
    ]);
  });

  test('forgets what is older than its retention', async (t) => {
    const pipeline = await testPipeline(t);
    await write(t, pipeline, [rawRecord('{old'), rawRecord('{new')]);
    await asOwner(pipeline.ownerUrl, (client) =>
      client.query("UPDATE dead_letters SET created_at = now() - interval '31 days' WHERE record_offset = 0"),
    );
    const settings = { ...readSettings(processSettings, {}), PULSE_PROCESS_EXPIRY_INTERVAL_MS: 20 };
    const stage = createDeadLetters({ ...pipeline, clock: systemClock, logger: silentLogger, settings });
    await stage.start();
    const left = async (): Promise<number> =>
      (await asOwner(pipeline.ownerUrl, (client) => client.query('SELECT 1 FROM dead_letters'))).rows.length;
    await until(async () => (await left()) === 1);
    await stage.stop();
  });
});

describe('GET /v1/dead-letters', () => {
  test('shows code, every failure and the original bytes with exact numbers', async (t) => {
    const pipeline = await testPipeline(t);
    const text = '{"event_id":"e","event_type":"", "n": 9007199254740993}';
    await write(t, pipeline, [rawRecord(text)]);
    const { app, keys } = await api(t, pipeline);
    const { body, text: answer } = await get<Page>(app, '', keys['acme']);
    const [letter] = body.dead_letters;
    assert.deepEqual(
      letter?.errors.map(({ pointer, rule }) => `${pointer} ${rule}`),
      ['/event_type length', '/data required'],
    );
    assert.equal(letter?.code, 'invalid_envelope');
    assert.equal(letter?.event_id, 'e');
    assert.match(letter?.receipt_id as string, /^rcp_acme\.\d+\.0\.0$/);
    assert.equal(Buffer.from(letter?.payload_base64 as string, 'base64').toString(), text);
    assert.ok(answer.includes(`"payload":${text}}`));
    const one = await get<Letter>(app, `/${letter?.id}`, keys['acme']);
    assert.deepEqual(one.body, letter);
  });

  test('hides other tenants, and what belongs to nobody from all but the administrator', async (t) => {
    const pipeline = await testPipeline(t);
    await write(t, pipeline, [
      rawRecord('{a'),
      rawRecord('{b', { headers: { pulse_tenant: 'globex' } }),
      rawRecord('{c', { headers: { pulse_tenant: undefined } }),
    ]);
    const { app, keys } = await api(t, pipeline);
    const owners = async (url: string, key: string): Promise<string[]> =>
      (await get<Page>(app, url, keys[key])).body.dead_letters.map((letter) => letter.tenant_id).sort();
    assert.deepEqual(await owners('', 'acme'), ['acme']);
    assert.deepEqual(await owners('', 'admin'), ['_platform', 'acme', 'globex']);
    assert.deepEqual(await owners('?tenant_id=_platform', 'admin'), ['_platform']);
    assert.deepEqual(await owners('?tenant_id=globex', 'admin'), ['globex']);
    assert.equal((await get(app, '?tenant_id=globex', keys['acme'])).status, 403);
    assert.equal((await get(app, '?tenant_id=_platform', keys['acme'])).status, 403);
    const foreign = (await get<Page>(app, '', keys['globex'])).body.dead_letters[0]?.id;
    assert.equal((await get(app, `/${foreign}`, keys['acme'])).status, 404);
    assert.equal((await get(app, '', undefined)).status, 401);
  });

  test('pages through equal times by cursor and filters by every field', async (t) => {
    const pipeline = await testPipeline(t);
    const records = Array.from({ length: 23 }, (_, i) => rawRecord(`{broken ${i}`, { partition: i % 3 }));
    const typed = [
      rawRecord({ event_id: 'x', event_type: 'order.placed', event_time: 'soon', data: {} }),
      rawRecord({ event_id: 'y', event_type: 'order.placed', data: 1 }),
    ];
    await write(t, pipeline, [...records, ...typed]);
    const { app, keys } = await api(t, pipeline);
    const seen = new Set<string>();
    let cursor: string | null = '';
    for (let pages = 0; cursor !== null; pages++) {
      const { body }: { body: Page } = await get<Page>(
        app,
        `?limit=4${cursor === '' ? '' : `&cursor=${cursor}`}`,
        keys['acme'],
      );
      for (const { id } of body.dead_letters) seen.add(id);
      cursor = body.next_cursor;
      assert.ok(pages < 7);
    }
    assert.equal(seen.size, 25);
    const countOf = async (query: string): Promise<number> =>
      (await get<Page>(app, `?${query}`, keys['acme'])).body.dead_letters.length;
    assert.equal(await countOf('code=invalid_time'), 1);
    assert.equal(await countOf('event_type=order.placed'), 2);
    assert.equal(await countOf('event_id=y&stage=process'), 1);
    assert.equal(await countOf('event_id=y&stage=store'), 0);
    assert.equal(await countOf('from=2026-03-01T10:00:00Z&to=2026-03-01T10:00:01Z'), 25);
    assert.equal(await countOf('to=2026-03-01T10:00:00Z'), 0);
    for (const bad of ['cursor=nonsense', 'from=yesterday', 'limit=0', 'limit=5000', 'code=%00']) {
      assert.equal((await get(app, `?${bad}`, keys['acme'])).status, 400, bad);
    }
    assert.equal((await get(app, '/nonsense', keys['acme'])).status, 404);
  });

  test('ends a page by bytes before it grows too large', async (t) => {
    const pipeline = await testPipeline(t);
    const large = `{"broken":"${'x'.repeat(1_000_000)}"`;
    await write(
      t,
      pipeline,
      Array.from({ length: 6 }, () => rawRecord(large)),
    );
    const { app, keys } = await api(t, pipeline);
    const first = (await get<Page>(app, '', keys['acme'])).body;
    assert.equal(first.dead_letters.length, 4);
    const second = (await get<Page>(app, `?cursor=${first.next_cursor}`, keys['acme'])).body;
    assert.equal(second.dead_letters.length, 2);
    assert.equal(second.next_cursor, null);
    assert.equal(second.dead_letters[0]?.payload, null);
  });

  test('groups by cause and shows samples', async (t) => {
    const pipeline = await testPipeline(t);
    const values = [
      { event_type: 'a', data: 1 },
      { event_type: 'a', data: 2 },
      { event_type: 'b', data: 1 },
      { event_type: 'a', data: [] },
    ];
    await write(
      t,
      pipeline,
      values.map((value) => rawRecord(value)),
    );
    const { app, keys } = await api(t, pipeline);
    interface Group {
      readonly fingerprint: string;
      readonly event_type: string;
      readonly count: number;
      readonly sample_id: string;
      readonly errors: readonly unknown[];
    }
    const { groups } = (await get<{ groups: Group[] }>(app, '/groups', keys['acme'])).body;
    assert.deepEqual(
      groups.map(({ event_type, count }) => [event_type, count]),
      [
        ['a', 3],
        ['b', 1],
      ],
    );
    const [largest] = groups;
    assert.equal(largest?.errors.length, 1);
    const samples = (
      await get<Page>(app, `/sample?fingerprint=${largest?.fingerprint}&limit=2`, keys['acme'])
    ).body;
    assert.equal(samples.dead_letters.length, 2);
    assert.ok(samples.dead_letters.every((letter) => letter.fingerprint === largest?.fingerprint));
    assert.equal(samples.dead_letters[0]?.id, largest?.sample_id);
  });
});
