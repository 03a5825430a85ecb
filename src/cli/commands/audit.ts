// `pulse audit`: who changed what, and whether the record of it is whole.
import { platformChain } from '../../tenancy/audit-chain.ts';
import { ChainCheck, type ChainVerdict } from '../audit-check.ts';
import type { Command, CommandContext } from '../command.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import { followCursor, listRows, pageOptions, rangeOptions } from '../lists.ts';
import { formatTable } from '../output.ts';

/** Rows of one chain that are checked at most; more than any chain will have. */
const chainRowsMax = 10_000_000;

export const auditCommand: Command = {
  name: 'audit',
  summary: 'Show who changed what, and verify the hash chains of that record.',
  usage: ['audit [--from TIME] [--to TIME] [--tenant ID] [--limit N]', 'audit verify [--tenant ID]'],
  notes: [
    'verify recomputes every hash; exit code 1 when a row was changed or removed.',
    'Keep the newest hashes elsewhere: they show a chain that was rewritten as a whole.',
  ],
  options: { ...rangeOptions, ...pageOptions },
  positionals: { min: 0, max: 1 },
  async run(context) {
    const [action] = context.positionals;
    if (action === 'verify') return await verify(context);
    if (action !== undefined) throw usageError(`'${action}' is no action of audit: verify.`);
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
          { title: 'TARGET', value: (row) => row['target'] },
          { title: 'DETAILS', value: (row) => row['details'] },
        ],
        context.terminal.columns,
      ),
    );
    return exitCode.ok;
  },
};

async function verify(context: CommandContext): Promise<ExitCode> {
  const verdicts: ChainVerdict[] = [];
  for (const chain of await chainsOf(context)) verdicts.push(await verifyChain(context, chain));
  context.print({ chains: verdicts }, () =>
    formatTable(
      verdicts,
      [
        { title: 'CHAIN', value: (verdict) => verdict.chain },
        { title: 'ROWS', value: (verdict) => verdict.rows, align: 'right' },
        { title: 'FOUND', value: (verdict) => verdict.problem ?? 'whole' },
        { title: 'NEWEST HASH', value: (verdict) => verdict.head_hash },
      ],
      context.terminal.columns,
    ),
  );
  return verdicts.every((verdict) => verdict.problem === null) ? exitCode.ok : exitCode.failed;
}

async function chainsOf(context: CommandContext): Promise<readonly string[]> {
  const tenant = context.options.text('tenant');
  if (tenant !== undefined) return [tenant];
  const tenants = await followCursor(context.api(), '/v1/tenants', 'tenants', {}, chainRowsMax);
  return [platformChain, ...tenants.map((row) => String(row['tenant_id']))];
}

async function verifyChain(context: CommandContext, chain: string): Promise<ChainVerdict> {
  const check = new ChainCheck(chain);
  const rows = await followCursor(context.api(), '/v1/audit', 'entries', { tenant_id: chain }, chainRowsMax);
  for (const row of rows) check.add(row);
  return check.verdict();
}
