// `pulse tenant …`: makes, shows and bounds tenants. Needs the administrator's token.
import type { Json } from '../api.ts';
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { followCursor, objectOf, pairsOf } from '../lists.ts';
import { formatPairs, formatTable } from '../output.ts';

const requestsPerMinuteMax = 100_000_000;

export const tenantCommand: Command = {
  name: 'tenant',
  summary: 'Create, list, show, suspend, resume tenants, and set their limits.',
  usage: [
    'tenant create ID [--name NAME] [--requests-per-minute N] [--topics shared|dedicated]',
    'tenant list',
    'tenant show ID',
    'tenant suspend ID',
    'tenant resume ID',
    'tenant limits ID --requests-per-minute N',
  ],
  options: {
    name: { type: 'string', value: 'NAME', help: 'Name for people; the id unless told.' },
    'requests-per-minute': { type: 'string', value: 'N', help: 'Limit of the tenant; 300 unless told.' },
    topics: { type: 'string', value: 'LAYOUT', help: 'shared (default) or dedicated.' },
  },
  positionals: { min: 1, max: 2 },
  async run(context) {
    const [action, tenantId] = context.positionals;
    if (action === 'list') return await list(context);
    if (tenantId === undefined) throw usageError(`'tenant ${action}' needs the id of a tenant.`);
    const path = `/v1/tenants/${encodeURIComponent(tenantId)}`;
    switch (action) {
      case 'create':
        return show(context, await create(context, tenantId));
      case 'show':
        return show(context, await context.api().get(path));
      case 'suspend':
      case 'resume':
        return show(
          context,
          await patch(context, path, { status: action === 'resume' ? 'active' : 'suspended' }),
        );
      case 'limits':
        if (context.options.text('requests-per-minute') === undefined)
          throw usageError(`'tenant limits' needs --requests-per-minute N.`);
        return show(context, await patch(context, path, limitsOf(context)));
      default:
        throw usageError(`'${action}' is no action of tenant: create, list, show, suspend, resume, limits.`);
    }
  },
};

function limitsOf(context: CommandContext): Json {
  if (context.options.text('requests-per-minute') === undefined) return {};
  const limit = context.options.number('requests-per-minute', {
    defaultValue: 300,
    min: 1,
    max: requestsPerMinuteMax,
  });
  return { limits: { requests_per_minute: limit } };
}

async function create(context: CommandContext, tenantId: string): Promise<Json> {
  const topics = context.options.text('topics');
  const body = {
    tenant_id: tenantId,
    name: context.options.text('name') ?? tenantId,
    ...(topics === undefined ? {} : { topics }),
    ...limitsOf(context),
  };
  return (await context.api().request('POST', '/v1/tenants', { body })).body;
}

async function patch(context: CommandContext, path: string, body: Json): Promise<Json> {
  return (await context.api().request('PATCH', path, { body })).body;
}

async function list(context: CommandContext): Promise<ExitCode> {
  const tenants = await followCursor(context.api(), '/v1/tenants', 'tenants');
  context.print({ tenants }, () =>
    formatTable(
      tenants,
      [
        { title: 'TENANT', value: (row) => row['tenant_id'] },
        { title: 'NAME', value: (row) => row['name'] },
        { title: 'STATUS', value: (row) => row['status'] },
        { title: 'TOPICS', value: (row) => row['topics'] },
        {
          title: 'REQUESTS/MIN',
          value: (row) => objectOf(row, 'limits')['requests_per_minute'],
          align: 'right',
        },
        { title: 'CREATED', value: (row) => row['created_at'] },
      ],
      context.terminal.columns,
    ),
  );
  return exitCode.ok;
}

function show(context: CommandContext, tenant: Json): ExitCode {
  context.print(tenant, () => formatPairs(pairsOf(tenant)));
  return exitCode.ok;
}
