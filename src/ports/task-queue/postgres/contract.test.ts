// pg-boss keeps the promise of TaskQueue, as the role pulse_app and without any right to create.
import { silentLogger, testDatabase } from '../../../../tests/support/database.ts';
import { testTaskQueue } from '../contract.ts';
import type { TaskQueue } from '../task-queue.ts';
import { openPostgresTaskQueue } from './index.ts';

testTaskQueue('postgres', async (t) => {
  const { appUrl } = await testDatabase(t);
  const opened: TaskQueue[] = [];
  t.after(async () => {
    for (const queue of opened) await queue.close();
  });
  return {
    open: async () => {
      const queue = await openPostgresTaskQueue({ url: appUrl, logger: silentLogger, pollMs: 500 });
      opened.push(queue);
      return queue;
    },
  };
});
