// `pulse audit`: who changed what.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';
import { listRows, pageOptions, rangeOptions } from '../lists.ts';
import { formatTable } from '../output.ts';

export const auditCommand: Command = {
  name: 'audit',
  summary: 'Show the audit log: who changed what.',
  usage: ['audit [--from TIME] [--to TIME] [--tenant ID] [--limit N]'],
  options: { ...rangeOptions, ...pageOptions },
  positionals: { min: 0, max: 0 },
  async run(context) {
    const { options } = context;
    const entries = await listRows(context, '/v1/audit', 'entries', {
      from: options.text('from'),
      to: options.text('to'),
    });
    context.print({ entries }, () =>
      formatTable(
        entries,
        [
          { title: 'TIME', value: (row) => row['occurred_at'] },
          { title: 'ACTOR', value: (row) => row['actor'] },
          { title: 'ACTION', value: (row) => row['action'] },
          { title: 'CHAIN', value: (row) => row['tenant_id'] },
          { title: 'TARGET', value: (row) => row['target'] },
          { title: 'DETAILS', value: (row) => row['details'] },
        ],
        context.terminal.columns,
      ),
    );
    return exitCode.ok;
  },
};
