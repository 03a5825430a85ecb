// `pulse dead-letters …`: what could not be carried on, and why.
import { readFile } from 'node:fs/promises';
import type { Json } from '../api.ts';
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { listRows, pageOptions, pairsOf, rangeOptions, rowsOf } from '../lists.ts';
import { cellText, formatPairs, formatTable } from '../output.ts';
import { printJob } from './jobs.ts';

export const deadLettersCommand: Command = {
  name: 'dead-letters',
  summary: 'List, show, group, reprocess and discard dead letters.',
  usage: [
    'dead-letters list [--code CODE]',
    'dead-letters show ID',
    'dead-letters groups',
    'dead-letters reprocess (ID … | --all) [--code CODE] [--patch FILE] [--dry-run]',
    'dead-letters discard (ID … | --all) [--code CODE] --reason TEXT',
  ],
  notes: [
    'reprocess starts a job; `pulse jobs show` follows it. --all takes every open one that the filters match.',
  ],
  options: {
    all: { type: 'boolean', help: 'Every open dead letter that the filters match.' },
    fingerprint: { type: 'string', value: 'TEXT', help: 'Only one group of `dead-letters groups`.' },
    patch: { type: 'string', value: 'FILE', help: 'A JSON Patch (RFC 6902) for each event.' },
    'dry-run': { type: 'boolean', help: 'Say what would happen and change nothing.' },
    reason: { type: 'string', value: 'TEXT', help: 'Why they are discarded; kept in the audit log.' },
    code: { type: 'string', value: 'CODE', help: 'Only this code, for example invalid_envelope.' },
    stage: { type: 'string', value: 'STAGE', help: 'Only those of this stage.' },
    ...rangeOptions,
    ...pageOptions,
  },
  positionals: { min: 0, max: 1_000 },
  async run(context) {
    const [action = 'list', ...ids] = context.positionals;
    const [id] = ids;
    if (action === 'reprocess') return await reprocess(context, ids);
    if (action === 'discard') return await discard(context, ids);
    if (action === 'list') return await list(context);
    if (action === 'groups') return await groups(context);
    if (action !== 'show')
      throw usageError(`'${action}' is no action of dead-letters: list, show, groups, reprocess, discard.`);
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

async function reprocess(context: CommandContext, ids: readonly string[]): Promise<ExitCode> {
  const { options } = context;
  const file = options.text('patch');
  // The file's own text goes into the body: parsing it here would round its numbers.
  const patch = file === undefined ? '' : `,"patch":${await readPatch(file)}`;
  const selection = JSON.stringify({ ...selectionOf(context, ids), dry_run: options.flag('dry-run') });
  const job = await post(context, '/v1/dead-letters/reprocess', `${selection.slice(0, -1)}${patch}}`);
  printJob(context, job);
  return exitCode.ok;
}

async function discard(context: CommandContext, ids: readonly string[]): Promise<ExitCode> {
  const reason = context.options.text('reason');
  if (reason === undefined) throw usageError(`'dead-letters discard' needs --reason.`);
  const body = JSON.stringify({ ...selectionOf(context, ids), reason });
  const answer = await post(context, '/v1/dead-letters/discard', body);
  context.print(answer, () => formatPairs(pairsOf(answer)));
  return exitCode.ok;
}

function selectionOf({ options }: CommandContext, ids: readonly string[]): Record<string, unknown> {
  if (ids.length > 0 === options.flag('all'))
    throw usageError('name dead letters by their ids, or all of them with --all.');
  if (ids.length > 0) return { ids };
  const names = ['code', 'stage', 'fingerprint', 'from', 'to'];
  const named = names.map((name) => [name, options.text(name)] as const);
  return { filter: Object.fromEntries(named.filter(([, value]) => value !== undefined)) };
}

async function readPatch(file: string): Promise<string> {
  const text = await readFile(file, 'utf8');
  try {
    JSON.parse(text);
  } catch (error) {
    throw usageError(`${file} is no JSON: ${(error as Error).message}.`);
  }
  return text;
}

async function post(context: CommandContext, path: string, body: string): Promise<Json> {
  const query = { tenant_id: context.options.text('tenant') };
  const sent = { query, bytes: Buffer.from(body), contentType: 'application/json' };
  return (await context.api().request('POST', path, sent)).body;
}
