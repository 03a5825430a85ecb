// `pulse version`: what is running here.
import packageFile from '../../../package.json' with { type: 'json' };
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';

export const versionCommand: Command = {
  name: 'version',
  summary: 'Print the versions of Pulse and Node.js.',
  usage: ['version'],
  options: {},
  positionals: { min: 0, max: 0 },
  async run({ print }) {
    const value = {
      pulse: packageFile.version,
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    };
    print(value, () => `pulse ${value.pulse} · node ${value.node} · ${value.platform}`);
    return await Promise.resolve(exitCode.ok);
  },
};
