// A process for processes.test.ts: appends numbered records to topic `t` until it is killed, printing each number once
// its append is acknowledged.
import { pino } from 'pino';
import { createEmbeddedEventLog } from '../index.ts';
import { record, smallSegments } from './log-folder.ts';

const [directory, first] = process.argv.slice(2) as [string, string];
const log = await createEmbeddedEventLog({
  directory,
  settings: smallSegments,
  logger: pino({ level: 'silent' }),
});
process.stdin.on('end', () => process.exit()).resume();
let next = Number(first);

async function appendOn(): Promise<never> {
  for (;;) {
    const value = String(next++);
    await log.append('t', [record(next % 2, `${value} ${'x'.repeat(next % 700)}`)]);
    process.stdout.write(`${value}\n`);
  }
}

await Promise.all(Array.from({ length: 8 }, appendOn));
