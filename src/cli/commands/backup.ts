// `pulse backup`: copies everything that Pulse keeps into a folder, with Pulse running or stopped.
import { backup } from '../../database/backup.ts';
import { databaseSettings } from '../../database/config.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Command } from '../command.ts';
import { dataDirectoryOf, readOwnSettings } from '../connection.ts';
import { exitCode, usageError } from '../errors.ts';
import { formatBytes, formatNumber } from '../output.ts';

export const backupCommand: Command = {
  name: 'backup',
  summary: 'Copy database, log and secrets into a folder, with Pulse running or stopped.',
  usage: ['backup --to DIR [--data-dir DIR]'],
  notes: ['The folder holds secrets and every event: it is made readable for its owner alone.'],
  options: {
    to: { type: 'string', value: 'DIR', help: 'An empty or missing folder.' },
    'data-dir': { type: 'string', value: 'DIR', help: 'What to copy; PULSE_DATA_DIR unless told.' },
  },
  positionals: { min: 0, max: 0 },
  async run({ options, environment, print }) {
    const to = options.text('to');
    if (to === undefined) throw usageError('backup needs --to DIR.');
    const manifest = await backup({
      dataDirectory: options.text('data-dir') ?? dataDirectoryOf(environment),
      to,
      databaseUrl: readOwnSettings(databaseSettings, environment).PULSE_DATABASE_URL,
      logger: createLogger({ level: 'warn', process: 'backup' }),
    });
    const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
    const facts = {
      to,
      made_at: manifest.made_at,
      database: manifest.database,
      files: manifest.files.length,
      bytes,
    };
    print(
      facts,
      () => `${to}: ${formatNumber(facts.files)} files, ${formatBytes(bytes)}, database ${facts.database}`,
    );
    return exitCode.ok;
  },
};
