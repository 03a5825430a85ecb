// `pulse start`: runs Pulse in this process until it is told to stop.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';

export const startCommand: Command = {
  name: 'start',
  summary: 'Run Pulse until Ctrl-C; PULSE_ROLES picks the parts.',
  usage: ['start'],
  options: {},
  positionals: { min: 0, max: 0 },
  async run({ environment }) {
    const { start } = await import('../../server/start.ts');
    await start(environment);
    return exitCode.ok;
  },
};
