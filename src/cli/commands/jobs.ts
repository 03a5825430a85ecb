// `pulse jobs …`: repair jobs of dead letters.
import type { Json } from '../api.ts';
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { listRows, objectOf, pageOptions, pairsOf } from '../lists.ts';
import { formatPairs, formatTable } from '../output.ts';

export const jobsCommand: Command = {
  name: 'jobs',
  summary: 'List and show repair jobs, their items, cancel and resume them.',
  usage: ['jobs list', 'jobs show ID', 'jobs items ID [--result RESULT]', 'jobs cancel ID', 'jobs resume ID'],
  options: {
    result: {
      type: 'string',
      value: 'RESULT',
      help: 'Only items with this result, for example still_invalid.',
    },
    ...pageOptions,
  },
  positionals: { min: 0, max: 2 },
  async run(context) {
    const [action = 'list', id] = context.positionals;
    if (action === 'list') return await list(context);
    if (!['show', 'items', 'cancel', 'resume'].includes(action)) {
      throw usageError(`'${action}' is no action of jobs: list, show, items, cancel, resume.`);
    }
    if (id === undefined) throw usageError(`'jobs ${action}' needs the id of a job.`);
    const path = `/v1/jobs/${encodeURIComponent(id)}`;
    if (action === 'items') return await items(context, path);
    const query = { tenant_id: context.options.text('tenant') };
    const job =
      action === 'show'
        ? await context.api().get(path, query)
        : (await context.api().request('POST', `${path}/${action}`, { query })).body;
    printJob(context, job);
    return exitCode.ok;
  },
};

/** Prints one job. */
export function printJob(context: CommandContext, job: Json): void {
  context.print(job, () => formatPairs(pairsOf(job)));
}

async function list(context: CommandContext): Promise<ExitCode> {
  const jobs = await listRows(context, '/v1/jobs', 'jobs');
  context.print({ jobs }, () =>
    formatTable(
      jobs,
      [
        { title: 'JOB', value: (row) => row['job_id'] },
        { title: 'TENANT', value: (row) => row['tenant_id'] },
        { title: 'STATE', value: (row) => row['state'] },
        { title: 'TOTAL', value: (row) => row['total'] },
        { title: 'DONE', value: (row) => objectOf(row, 'progress')['done'] },
        { title: 'RESULTS', value: (row) => JSON.stringify(row['results']) },
        { title: 'CREATED', value: (row) => row['created_at'] },
      ],
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}

async function items(context: CommandContext, path: string): Promise<ExitCode> {
  const rows = await listRows(context, `${path}/items`, 'items', { result: context.options.text('result') });
  context.print({ items: rows }, () =>
    formatTable(
      rows,
      [
        { title: 'ITEM', value: (row) => row['item'] },
        { title: 'DEAD LETTER', value: (row) => row['dead_letter_id'] },
        { title: 'STATE', value: (row) => row['state'] },
        { title: 'RESULT', value: (row) => row['result'] },
        { title: 'DETAIL', value: (row) => row['detail'] },
      ],
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}
