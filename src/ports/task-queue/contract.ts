// The promise of TaskQueue as a test suite; every adapter runs it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TaskQueue, WorkOptions } from './task-queue.ts';

export interface TaskQueueHarness {
  /** A further queue over the same tasks, closed when the test ends. */
  open(): Promise<TaskQueue>;
}

/** What the suite needs of node:test's context. */
interface Scope {
  after(work: () => Promise<void>): void;
}

const options: WorkOptions = { attemptsMax: 3, retryDelayMs: 1_000, retryDelayMaxMs: 2_000, concurrency: 1 };

async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!holds()) {
    if (Date.now() > deadline) assert.fail(`did not happen in 15 s: ${what}`);
    await sleep(20);
  }
}

/** Runs the suite; `prepare` makes an empty store of tasks. */
export function testTaskQueue(name: string, prepare: (t: Scope) => Promise<TaskQueueHarness>): void {
  describe(`TaskQueue: ${name}`, { concurrency: true }, () => {
    test('runs a task once although its key is enqueued many times, from two queues, also after it has run', async (t) => {
      const harness = await prepare(t);
      const [one, two] = [await harness.open(), await harness.open()];
      const runs: string[] = [];
      const at = { key: 'k', runAtMs: Date.now() };
      await Promise.all([one, two, one, two].map((queue) => queue.enqueue('count', { id: 'a' }, at)));
      for (const queue of [one, two]) {
        await queue.work('count', options, async ({ ids }) => {
          runs.push(ids['id'] ?? '');
          await Promise.resolve();
        });
      }
      await until(() => runs.length > 0, 'the task to run');
      await one.enqueue('count', { id: 'a' }, at);
      await one.enqueue('count', { id: 'b' }, { ...at, key: 'other' });
      await until(() => runs.includes('b'), 'the other task to run');
      await sleep(1_500);
      assert.deepEqual(runs, ['a', 'b']);
    });

    test('keeps tasks that nobody works on yet, and begins none before its time', async (t) => {
      const harness = await prepare(t);
      const early = await harness.open();
      const runAtMs = Date.now() + 2_500;
      await early.enqueue('later', { id: 'a' }, { key: 'k', runAtMs });
      await early.close();
      const queue = await harness.open();
      let startedMs = 0;
      await queue.work('later', options, async () => {
        startedMs = Date.now();
        await Promise.resolve();
      });
      await until(() => startedMs > 0, 'the task to run');
      assert.ok(startedMs >= runAtMs - 50, `${runAtMs - startedMs} ms early`);
    });

    test('tries a task that throws again with pauses, and no more often than allowed', async (t) => {
      const queue = await (await prepare(t)).open();
      const tries: { attempt: number; isLast: boolean; atMs: number }[] = [];
      await queue.work('fail', options, async ({ attempt, isLastAttempt }) => {
        tries.push({ attempt, isLast: isLastAttempt, atMs: Date.now() });
        await Promise.resolve();
        throw new Error('on purpose');
      });
      await queue.enqueue('fail', { id: 'a' }, { key: 'k', runAtMs: Date.now() });
      await until(() => tries.length === 3, 'three tries');
      await sleep(3_000);
      assert.deepEqual(
        tries.map(({ attempt, isLast }) => [attempt, isLast]),
        [
          [1, false],
          [2, false],
          [3, true],
        ],
      );
      assert.ok((tries[1]?.atMs ?? 0) - (tries[0]?.atMs ?? 0) >= 400, JSON.stringify(tries));
    });

    test('aborts the task in hand when it closes, and waits for its end', async (t) => {
      const queue = await (await prepare(t)).open();
      let ended = false;
      let begun = false;
      await queue.work('long', options, async ({ signal }) => {
        begun = true;
        await sleep(60_000, undefined, { signal }).catch(() => {});
        await sleep(100);
        ended = true;
      });
      await queue.enqueue('long', { id: 'a' }, { key: 'k', runAtMs: Date.now() });
      await until(() => begun, 'the task to begin');
      await queue.close();
      assert.ok(ended);
      await queue.close();
    });
  });
}
