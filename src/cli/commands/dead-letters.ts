// `pulse dead-letters …`: what could not be carried on, and why.
import type { Json } from '../api.ts';
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { listRows, pageOptions, pairsOf, rangeOptions, rowsOf } from '../lists.ts';
import { cellText, formatPairs, formatTable } from '../output.ts';

export const deadLettersCommand: Command = {
  name: 'dead-letters',
  summary: 'List, show and group dead letters.',
  usage: ['dead-letters list [--code CODE]', 'dead-letters show ID', 'dead-letters groups'],
  options: {
    code: { type: 'string', value: 'CODE', help: 'Only this code, for example invalid_envelope.' },
    stage: { type: 'string', value: 'STAGE', help: 'Only those of this stage.' },
    ...rangeOptions,
    ...pageOptions,
  },
  positionals: { min: 0, max: 2 },
  async run(context) {
    const [action = 'list', id] = context.positionals;
    if (action === 'list') return await list(context);
    if (action === 'groups') return await groups(context);
    if (action !== 'show') throw usageError(`'${action}' is no action of dead-letters: list, show, groups.`);
    if (id === undefined) throw usageError(`'dead-letters show' needs the id of a dead letter.`);
    const query = { tenant_id: context.options.text('tenant') };
    const deadLetter = await context.api().get(`/v1/dead-letters/${encodeURIComponent(id)}`, query);
    context.print(deadLetter, () => formatPairs(pairsOf(deadLetter)));
    return exitCode.ok;
  },
};

async function list(context: CommandContext): Promise<ExitCode> {
  const { options } = context;
  const rows = await listRows(context, '/v1/dead-letters', 'dead_letters', {
    code: options.text('code'),
    stage: options.text('stage'),
    from: options.text('from'),
    to: options.text('to'),
  });
  context.print({ dead_letters: rows }, () =>
    formatTable(
      rows,
      [
        { title: 'ID', value: (row) => row['id'] },
        { title: 'TENANT', value: (row) => row['tenant_id'] },
        { title: 'CODE', value: (row) => row['code'] },
        { title: 'STAGE', value: (row) => row['stage'] },
        { title: 'EVENT', value: (row) => row['event_id'] },
        { title: 'WHY', value: firstFailure },
      ],
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}

function firstFailure(row: Json): string {
  const [first, ...more] = rowsOf(row, 'errors');
  if (first === undefined) return '';
  return `${cellText(first['pointer'])} ${cellText(first['message'])}${more.length > 0 ? ` (+${more.length})` : ''}`.trim();
}

async function groups(context: CommandContext): Promise<ExitCode> {
  const answer = await context
    .api()
    .get('/v1/dead-letters/groups', { tenant_id: context.options.text('tenant') });
  const rows = rowsOf(answer, 'groups');
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  context.print(answer, () =>
    formatTable(
      rows,
      names.map((name) => ({ title: name.toUpperCase(), value: (row: Json) => row[name] })),
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}
