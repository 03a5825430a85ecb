// `pulse receipt`: where one accepted event is now.
import type { Json } from '../api.ts';
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';
import { objectOf, readReceipt } from '../lists.ts';
import { formatPairs } from '../output.ts';

export const receiptCommand: Command = {
  name: 'receipt',
  summary: 'Say where an accepted event is now.',
  usage: ['receipt RECEIPT_ID'],
  options: {},
  positionals: { min: 1, max: 1 },
  async run(context) {
    const receipt = await readReceipt(context.api(), context.positionals[0] as string);
    context.print(receipt, () => formatReceipt(receipt));
    return exitCode.ok;
  },
};

/** A receipt with one line for each stage. */
export function formatReceipt(receipt: Json): string {
  const { stages: _, ...rest } = receipt;
  const stages = Object.entries(objectOf(receipt, 'stages')).map(
    ([name, value]) => [`  ${name}`, value] as const,
  );
  return formatPairs([
    ...Object.entries(rest),
    ...(stages.length > 0 ? [['stages', ''] as const] : []),
    ...stages,
  ]);
}
