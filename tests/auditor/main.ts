// `node tests/auditor/main.ts --data DIR [--acknowledged FILE] [--database URL] [--drained]`: audits a running Pulse.
// Prints a table; exit code 0 when everything holds, 1 on any breach, 2 when it could not look.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { audit, describe } from './audit.ts';
import type { Acknowledged } from './checks/outcomes.ts';

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      acknowledged: { type: 'string' },
      database: { type: 'string' },
      drained: { type: 'boolean', default: false },
    },
  });
  if (values.data === undefined) {
    process.stderr.write(
      'Usage: node tests/auditor/main.ts --data DIR [--acknowledged FILE] [--database URL] [--drained]\n',
    );
    return 2;
  }
  const report = await audit({
    dataDirectory: values.data,
    isDrained: values.drained,
    ...(values.database === undefined ? {} : { ownerUrl: values.database }),
    ...(values.acknowledged === undefined ? {} : { acknowledged: readAcknowledged(values.acknowledged) }),
  });
  process.stdout.write(`${describe(report)}\n`);
  return report.holds ? 0 : 1;
}

/** NDJSON of {event_id, receipt_id}; a last line that was cut off by a crash is left out. */
function readAcknowledged(file: string): Acknowledged[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Acknowledged);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`The audit could not be made: ${(error as Error).message}\n`);
  process.exitCode = 2;
}
