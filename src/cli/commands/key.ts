// `pulse key …`: API keys of a tenant. A key is shown once, when it is made.
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { followCursor } from '../lists.ts';
import { formatTable } from '../output.ts';

export const keyCommand: Command = {
  name: 'key',
  summary: 'Create, list and revoke the API keys of a tenant.',
  usage: [
    'key create TENANT [--name NAME] [--scopes ingest,read]',
    'key list TENANT',
    'key revoke TENANT KEY_ID',
  ],
  options: {
    name: { type: 'string', value: 'NAME', help: 'What the key is for.' },
    scopes: { type: 'string', value: 'LIST', help: 'Of ingest, read, admin; ingest,read unless told.' },
  },
  positionals: { min: 2, max: 3 },
  async run(context) {
    const [action, tenantId, keyId] = context.positionals;
    const path = `/v1/tenants/${encodeURIComponent(tenantId as string)}/keys`;
    if (action === 'create') return await create(context, path);
    if (action === 'list') return await list(context, path);
    if (action !== 'revoke') throw usageError(`'${action}' is no action of key: create, list, revoke.`);
    if (keyId === undefined) throw usageError(`'key revoke' needs the tenant and the id of the key.`);
    const answer = await context.api().request('DELETE', `${path}/${encodeURIComponent(keyId)}`);
    context.print(answer.body, () => `Key ${keyId} is revoked; it stops working everywhere within 5 s.`);
    return exitCode.ok;
  },
};

async function create(context: CommandContext, path: string): Promise<ExitCode> {
  const body = {
    name: context.options.text('name') ?? 'command line',
    scopes: (context.options.text('scopes') ?? 'ingest,read').split(',').map((scope) => scope.trim()),
  };
  const key = (await context.api().request('POST', path, { body })).body;
  context.print(key, () =>
    [
      `key_id   ${String(key['key_id'])}`,
      `api_key  ${String(key['api_key'])}`,
      'Keep it: it is not shown again.',
    ].join('\n'),
  );
  return exitCode.ok;
}

async function list(context: CommandContext, path: string): Promise<ExitCode> {
  const keys = await followCursor(context.api(), path, 'keys');
  context.print({ keys }, () =>
    formatTable(
      keys,
      [
        { title: 'KEY', value: (row) => row['key_id'] },
        { title: 'NAME', value: (row) => row['name'] },
        {
          title: 'SCOPES',
          value: (row) => (Array.isArray(row['scopes']) ? row['scopes'].join(',') : row['scopes']),
        },
        { title: 'CREATED', value: (row) => row['created_at'] },
        { title: 'REVOKED', value: (row) => row['revoked_at'] },
      ],
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}
