// `npm run bench -- <name>`: runs a benchmark with its floor in the same run and prints medians, spread and goals.
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { formatTable } from '../src/cli/output.ts';
import { type Benchmark, isMet } from './lib/benchmark.ts';
import { describeMachine, resultText } from './lib/report.ts';

const loaders: Readonly<Record<string, () => Promise<Benchmark>>> = {
  log: async () => (await import('./log.ts')).log,
  'ingest-single': async () => (await import('./ingest-single.ts')).ingestSingle,
  'ingest-batch': async () => (await import('./ingest-batch.ts')).ingestBatch,
  'open-loop': async () => (await import('./open-loop.ts')).openLoop,
  pipeline: async () => (await import('./pipeline.ts')).pipeline,
};

async function help(): Promise<string> {
  const all = await Promise.all(Object.values(loaders).map((load) => load()));
  return [
    'Usage: npm run bench -- <name> [--rounds N] [--seconds S] [--json] [--out FILE]',
    '',
    formatTable(all, [
      { title: 'NAME', value: (benchmark) => benchmark.name },
      { title: 'BUDGET', value: (benchmark) => benchmark.budget },
      { title: 'ROUNDS', value: (benchmark) => benchmark.defaults.rounds, align: 'right' },
      { title: 'SECONDS', value: (benchmark) => benchmark.defaults.seconds, align: 'right' },
      { title: 'WHAT', value: (benchmark) => benchmark.summary },
    ]),
    '',
    'Exit code 1 when a goal is missed. BENCH_DIR names the folder (on a real disk) for data.',
  ].join('\n');
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'boolean' },
      out: { type: 'string' },
      help: { type: 'boolean' },
    },
    allowPositionals: true,
  });
  const name = positionals[0];
  const load = name !== undefined && Object.hasOwn(loaders, name) ? loaders[name] : undefined;
  if (load === undefined || values.help === true) {
    process.stdout.write(`${await help()}\n`);
    return values.help === true ? 0 : 2;
  }
  const benchmark = await load();
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort());
  const machine = describeMachine();
  const result = await benchmark.run({
    rounds: bounded(values.rounds, benchmark.defaults.rounds, 100),
    seconds: bounded(values.seconds, benchmark.defaults.seconds, 600),
    log: (text) => process.stderr.write(`${text}\n`),
    signal: interrupt.signal,
  });
  const json = JSON.stringify({ name: benchmark.name, budget: benchmark.budget, machine, ...result });
  if (values.out !== undefined) writeFileSync(values.out, `${json}\n`);
  process.stdout.write(
    values.json === true ? `${json}\n` : `${resultText(benchmark.name, result, machine)}\n`,
  );
  return result.goals.every(isMet) ? 0 : 1;
}

function bounded(text: string | undefined, defaultValue: number, max: number): number {
  const value = text === undefined ? defaultValue : Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new Error(`'${text}' is not a whole number from 1 to ${max}`);
}

process.exitCode = await main();
