// The table and the JSON of a benchmark, with the machine that it ran on.
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { formatNumber, formatTable } from '../../src/cli/output.ts';
import { type BenchmarkResult, isMet, type Series } from './benchmark.ts';
import { median, spread } from './statistics.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_gib: number;
  readonly kernel: string;
  readonly node: string;
  /** Load average of the last minute before the run: anything near 1 or more means that somebody else was working. */
  readonly load_before: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.versions.node,
    load_before: Math.round((loadavg()[0] as number) * 100) / 100,
  };
}

export function resultText(name: string, result: BenchmarkResult, machine: Machine): string {
  const digits = (value: number): number => (Math.abs(value) < 10 ? 3 : Math.abs(value) < 1000 ? 1 : 0);
  const show = (value: number): string => formatNumber(value, digits(value));
  const series = formatTable(result.series, [
    { title: 'MEASURED', value: (row: Series) => row.name },
    { title: 'MEDIAN', value: (row) => show(median(row.values)), align: 'right' },
    { title: 'MIN', value: (row) => show(Math.min(...row.values)), align: 'right' },
    { title: 'MAX', value: (row) => show(Math.max(...row.values)), align: 'right' },
    { title: 'SPREAD', value: (row) => `${formatNumber(spread(row.values) * 100)} %`, align: 'right' },
    { title: 'UNIT', value: (row) => row.unit },
  ]);
  const goals = formatTable(result.goals, [
    { title: 'GOAL', value: (row) => row.name },
    { title: 'FOUND', value: (row) => show(row.found), align: 'right' },
    { title: 'WANTED', value: (row) => `${row.compare} ${show(row.wanted)}`, align: 'right' },
    { title: '', value: (row) => (isMet(row) ? 'met' : 'MISSED') },
  ]);
  const where = `${machine.cores} × ${machine.cpu}, ${machine.memory_gib} GiB, Linux ${machine.kernel}, Node ${machine.node}, load before ${machine.load_before}`;
  return [`# ${name}`, where, '', series, '', goals, ...result.notes.map((note) => `- ${note}`)].join('\n');
}
