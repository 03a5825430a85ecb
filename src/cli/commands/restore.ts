// `pulse restore`: makes a data directory from what `pulse backup` copied.
import { restore } from '../../database/backup.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Command } from '../command.ts';
import { dataDirectoryOf } from '../connection.ts';
import { exitCode, usageError } from '../errors.ts';
import { formatNumber } from '../output.ts';

export const restoreCommand: Command = {
  name: 'restore',
  summary: 'Make a data directory from a backup.',
  usage: ['restore --from DIR [--data-dir DIR]'],
  notes: ['Every file is checked against the backup before the data directory appears.'],
  options: {
    from: { type: 'string', value: 'DIR', help: 'A folder that `backup` made.' },
    'data-dir': {
      type: 'string',
      value: 'DIR',
      help: 'An empty or missing folder; PULSE_DATA_DIR unless told.',
    },
  },
  positionals: { min: 0, max: 0 },
  async run({ options, environment, print }) {
    const from = options.text('from');
    if (from === undefined) throw usageError('restore needs --from DIR.');
    const dataDirectory = options.text('data-dir') ?? dataDirectoryOf(environment);
    const logger = createLogger({ level: 'warn', process: 'restore' });
    const manifest = await restore({ from, dataDirectory, logger });
    const facts = { data_directory: dataDirectory, made_at: manifest.made_at, files: manifest.files.length };
    print(facts, () => `${dataDirectory}: ${formatNumber(facts.files)} files as of ${facts.made_at}`);
    return exitCode.ok;
  },
};
