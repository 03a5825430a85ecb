// `pulse reconcile`: proves that accepted = stored + duplicates + dead letters + dropped + in flight.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';
import { pairsOf, rangeOptions } from '../lists.ts';
import { formatPairs } from '../output.ts';

export const reconcileCommand: Command = {
  name: 'reconcile',
  summary: 'Show whether every accepted event is accounted for.',
  usage: ['reconcile [--from TIME] [--to TIME] [--tenant ID]'],
  notes: ['Exit code 1 when the counts do not close.'],
  options: {
    tenant: { type: 'string', value: 'ID', help: 'Only this tenant (administrator).' },
    ...rangeOptions,
  },
  positionals: { min: 0, max: 0 },
  async run(context) {
    const { options } = context;
    const answer = await context.api().get('/v1/reconciliation', {
      tenant_id: options.text('tenant'),
      from: options.text('from'),
      to: options.text('to'),
    });
    context.print(answer, () => formatPairs(pairsOf(answer).filter(([, value]) => !Array.isArray(value))));
    // Events in flight keep it open without anything being wrong; only a sum that does not add up is a finding.
    return balances(answer) ? exitCode.ok : exitCode.failed;
  },
};

/** True when the counts add up to what was accepted. */
export function balances(counts: Readonly<Record<string, unknown>>): boolean {
  const of = (name: string): number => (typeof counts[name] === 'number' ? counts[name] : 0);
  const known = of('stored') + of('duplicates') + of('dead_letters') + of('dropped') + of('in_flight');
  return of('accepted') === known;
}
