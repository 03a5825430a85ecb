// Real processes: one writer per topic, followers elsewhere, and a writer that is killed again and again.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../../core/errors.ts';
import { type LogFolder, logFolder, record } from './testing/log-folder.ts';
import { verifyLog } from './verify.ts';

const options = { partitions: 2, retentionMs: 0, retentionBytes: 0 };
const plenty = { recordsMax: 10_000, bytesMax: 100_000_000 };

/** A child that appends numbered records and prints each number once it is acknowledged. */
function startWriter(
  t: TestContext,
  folder: LogFolder,
  first: number,
): { child: ChildProcess; lines: AsyncIterator<string> } {
  const script = new URL('./testing/writer-process.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, folder.directory, String(first)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

test('lets one process write to a topic, and names the one that does', async (t) => {
  const folder = await logFolder(t);
  const log = await folder.open();
  await log.createTopic('t', options);
  const { child, lines } = startWriter(t, folder, 0);
  await lines.next();
  await assert.rejects(log.append('t', [record(0, 'x')]), (error) => {
    assert.ok(hasCode(error, 'PULSE_LOG_IN_USE'));
    assert.deepEqual(error.details, { topic: 't', pid: String(child.pid) });
    return true;
  });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const [offset] = await log.append('t', [record(0, 'x')]);
  assert.ok((offset as number) > 0);
});

test('loses nothing acknowledged when its writer is killed again and again, while another process reads along', async (t) => {
  const folder = await logFolder(t);
  const reader = await folder.open();
  await reader.createTopic('t', options);
  const consumer = await reader.consume({ group: 'g', topics: ['t'], from: 'earliest' });
  const next = [0, 0];
  const seen = new Set<string>();
  const acknowledged = new Set<string>();
  const readAlong = async (waitMs: number): Promise<number> => {
    const batches = await consumer.poll({ ...plenty, waitMs });
    for (const { partition, records } of batches) {
      for (const one of records) {
        assert.equal(one.offset, (next[partition] as number)++);
        const value = one.value.toString().split(' ')[0] as string;
        assert.ok(!seen.has(value), `${value} came twice`);
        seen.add(value);
      }
    }
    return batches.length;
  };
  for (let life = 0; life < 6; life++) {
    const { child, lines } = startWriter(t, folder, life * 100_000);
    const until = 20 + life * 37;
    for (let count = 0; count < until; count++) {
      const line = await lines.next();
      if (line.done === true) break;
      acknowledged.add(line.value);
      if (count % 10 === 0) await readAlong(0);
    }
    child.kill('SIGKILL');
    // What was printed before the kill was acknowledged, too.
    for (let line = await lines.next(); line.done !== true; line = await lines.next())
      acknowledged.add(line.value);
  }
  const writer = await folder.open();
  await writer.openForWriting('t');
  while ((await readAlong(100)) > 0);
  for (const value of acknowledged) assert.ok(seen.has(value), `${value} was acknowledged and is gone`);
  await writer.close();
  assert.equal((await verifyLog(folder.directory)).topics[0]?.problem, null);
});
