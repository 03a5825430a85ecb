// The embedded adapter keeps the port's promise.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describeEventLog } from '../contract.ts';
import { createEmbeddedEventLog } from './index.ts';

describeEventLog('embedded', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pulse-log-'));
  return {
    open: () =>
      createEmbeddedEventLog({ directory: join(directory, 'log'), logger: pino({ level: 'silent' }) }),
    remove: () => rm(directory, { recursive: true }),
  };
});
