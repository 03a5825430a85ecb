import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { createEmbeddedEventLog } from '../ports/event-log/embedded/index.ts';
import { createLogger } from '../telemetry/logger.ts';
import { runCli } from './cli.ts';

const logger = createLogger({ level: 'silent', process: 'test' });

/** A data directory with 300 records of 1 kB over three partitions, read up to offset 40 of partition 0. */
async function dataDirectory(t: TestContext): Promise<string> {
  const data = mkdtempSync(join(tmpdir(), 'pulse-log-'));
  t.after(() => rmSync(data, { recursive: true }));
  const log = await createEmbeddedEventLog({ directory: join(data, 'log'), logger });
  await log.createTopic('events.raw', { partitions: 3, retentionMs: 0, retentionBytes: 0 });
  for (let i = 0; i < 10; i++) {
    const records = Array.from({ length: 30 }, (_, n) => ({
      partition: n % 3,
      key: null,
      headers: {},
      value: Buffer.alloc(1000, `record ${i} ${n} `),
    }));
    await log.append('events.raw', records);
  }
  const consumer = await log.consume({ group: 'process', topics: ['events.raw'], from: 'earliest' });
  await consumer.poll({ recordsMax: 10, bytesMax: 1e6, waitMs: 1000 });
  await consumer.commit([{ topic: 'events.raw', partition: 0, offset: 40 }]);
  await consumer.close();
  await log.close();
  return data;
}

async function run(
  words: readonly string[],
  data: string,
): Promise<{ code: number; out: string; error: string }> {
  const out: string[] = [];
  const error: string[] = [];
  const terminal = {
    out: (text: string) => out.push(text),
    error: (text: string) => error.push(text),
    isTerminal: false,
    columns: 100,
  };
  const signal = new AbortController().signal;
  const code = await runCli({
    words: ['log', ...words, '--data-dir', data],
    environment: {},
    terminal,
    signal,
  });
  return { code, out: out.join('\n'), error: error.join('\n') };
}

describe('pulse log', () => {
  test('shows partitions and how far groups are behind', async (t) => {
    const data = await dataDirectory(t);
    assert.match((await run(['inspect'], data)).out, /events\.raw\s+2\s+0\s+100/);
    assert.match((await run(['consumers'], data)).out, /process\s+events\.raw\s+260/);
  });

  test('finds a whole log whole and a damaged one damaged', async (t) => {
    const data = await dataDirectory(t);
    const whole = await run(['verify', '--json'], data);
    assert.equal(whole.code, 0);
    const { topics } = JSON.parse(whole.out) as {
      topics: { topic: string; problem: unknown; partitions: { records: number }[] }[];
    };
    assert.deepEqual(
      topics.map(({ topic, problem, partitions }) => [
        topic,
        problem,
        partitions.map(({ records }) => records),
      ]),
      [['events.raw', null, [100, 100, 100]]],
    );

    const folder = join(data, 'log', 'topics', 'events.raw');
    const segment = readdirSync(folder).find((name) => statSync(join(folder, name)).size > 300_000);
    const file = openSync(join(folder, segment as string), 'r+');
    writeSync(file, Buffer.from('damage'), 0, 6, 100_000);
    const damaged = await run(['verify'], data);
    assert.equal(damaged.code, 1);
    assert.match(damaged.out, /events\.raw .*corrupt at byte \d+ of /);
  });

  test('forgets a group, and says which there are when it is unknown', async (t) => {
    const data = await dataDirectory(t);
    const unknown = await run(['consumers', 'drop', 'proces'], data);
    assert.equal(unknown.code, 2);
    assert.match(unknown.error, /there are: process/);
    assert.equal((await run(['consumers', 'drop', 'process'], data)).code, 0);
    assert.equal((await run(['consumers', '--json'], data)).out, '{"groups":[]}');
  });

  test('makes nothing where there is no log', async (t) => {
    const data = mkdtempSync(join(tmpdir(), 'pulse-log-'));
    t.after(() => rmSync(data, { recursive: true }));
    const result = await run(['verify'], data);
    assert.equal(result.code, 1);
    assert.deepEqual(readdirSync(data), []);
  });
});
