import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadGate } from './read-gate.ts';

const limits = { totalMax: 4, callerMax: 2, waitingMax: 3, waitMs: 50 };

/** Work that ends when it is told to. */
function held(): { work: () => Promise<string>; end: () => void; isRunning: () => boolean } {
  let end = (): void => {};
  let running = false;
  const ended = new Promise<string>((resolve) => {
    end = () => resolve('done');
  });
  const work = async () => {
    running = true;
    return await ended;
  };
  return { work, end: () => end(), isRunning: () => running };
}

test('one caller takes its part only, and others are admitted beside it', async () => {
  const gate = new ReadGate(limits);
  const slow = [held(), held(), held()];
  const runs = slow.map((one) => gate.run('greedy', one.work));
  const neighbour = await gate.run('other', async () => 'served');
  assert.equal(neighbour, 'served');
  assert.deepEqual(
    slow.map((one) => one.isRunning()),
    [true, true, false],
  );
  slow[0]?.end();
  await runs[0];
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(slow[2]?.isRunning(), true, 'the third follows when the first has ended');
  for (const one of slow) one.end();
  assert.deepEqual(await Promise.all(runs), ['done', 'done', 'done']);
});

test('what waits too long, or behind too many, is refused, and takes no place', async () => {
  const gate = new ReadGate(limits);
  const slow = [held(), held()];
  const runs = slow.map((one) => gate.run('greedy', one.work));
  const waiting = Array.from({ length: 3 }, () => gate.run('greedy', async () => 'late'));
  const refused = { code: 'PULSE_STORE_READS_FULL', status: 429 };
  await assert.rejects(
    gate.run('greedy', async () => 'never'),
    refused,
  );
  for (const one of waiting) await assert.rejects(one, refused);
  for (const one of slow) one.end();
  await Promise.all(runs);
  assert.equal(await gate.run('greedy', async () => 'again'), 'again');
});

test('a failed read gives its place back', async () => {
  const gate = new ReadGate({ ...limits, totalMax: 1, callerMax: 1 });
  for (let n = 0; n < 3; n++)
    await assert.rejects(
      gate.run('a', () => Promise.reject(new Error('no'))),
      /no/,
    );
  assert.equal(await gate.run('b', async () => 'served'), 'served');
});
