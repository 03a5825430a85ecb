// Collect on the real embedded log: what was answered is on disk, also for the next process.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { rawTopic, startCollect } from '../../tests/support/collect-server.ts';
import { createEmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import { createLogger } from '../telemetry/logger.ts';

test('keeps bytes, receipts and idempotency keys across a restart on the embedded log', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pulse-collect-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const logger = createLogger({ level: 'silent', process: 'test' });
  const bodies = new Map([
    ['one', '{"event_type":"a","data":{"big":9007199254740993}}'],
    [
      'many',
      `[${Array.from({ length: 10_000 }, (_, n) => `{"event_type":"t","data":{"n":${n}}}`).join(', ')}]`,
    ],
  ]);
  const key = (name: string): Record<string, string> => ({ 'idempotency-key': name });

  const log = await createEmbeddedEventLog({ directory, logger });
  const server = await startCollect(t, { log });
  const answers = new Map<string, string>();
  for (const [name, body] of bodies) {
    const answer = await server.post('/v1/collect', body, key(name));
    assert.equal(answer.status, 202, answer.text.slice(0, 200));
    answers.set(name, answer.text);
  }
  const parallel = Array.from({ length: 200 }, (_, n) =>
    server.post('/events', `{"event_id":"p${n}","event_type":"p","data":{}}`),
  );
  const receipts = (await Promise.all(parallel)).map((answer) => answer.json.receipt_id as string);
  assert.equal(new Set(receipts).size, 200);
  await server.collect.drain();
  await log.close();

  const reopened = await createEmbeddedEventLog({ directory, logger });
  t.after(() => reopened.close());
  const again = await startCollect(t, { log: reopened });
  for (const [name, body] of bodies) {
    const answer = await again.post('/v1/collect', body, key(name));
    assert.equal(answer.headers['idempotency-replayed'], 'true');
    assert.equal(answer.text, answers.get(name));
  }
  const [, partition, offset] = /^rcp_acme\.7\.(\d+)\.(\d+)$/.exec(receipts[17] ?? '') ?? [];
  const page = { recordsMax: 1, bytesMax: 1 };
  const [record] = await reopened.read(rawTopic, Number(partition), Number(offset), page);
  assert.equal(record?.value.toString(), '{"event_id":"p17","event_type":"p","data":{}}');
  assert.equal(
    (await reopened.bounds(rawTopic)).reduce((sum, bound) => sum + bound.end, 0),
    10_201,
  );
});
