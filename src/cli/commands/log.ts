// `pulse log …`: looks into the embedded log on disk. Safe beside a running Pulse; only `consumers drop` changes anything.

import { type TopicReport, verifyLog } from '../../ports/event-log/embedded/verify.ts';
import type { Command, CommandContext } from '../command.ts';
import { dataDirectoryOf } from '../connection.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import {
  consumers,
  groupNames,
  inspect,
  logDirectory,
  noLog,
  type PartitionFacts,
  topicNames,
  withLog,
} from '../log-files.ts';
import { type Column, formatNumber, formatTable } from '../output.ts';

export const logCommand: Command = {
  name: 'log',
  summary: 'Inspect and verify the embedded event log; free a dead consumer group.',
  usage: ['log inspect [TOPIC]', 'log verify [TOPIC]', 'log consumers', 'log consumers drop GROUP'],
  notes: [
    'verify reads every record and checks its checksum; exit code 1 when something is damaged.',
    'consumers drop lets retention remove what the group has not read.',
  ],
  options: {
    'data-dir': { type: 'string', value: 'DIR', help: 'Data directory; PULSE_DATA_DIR unless told.' },
  },
  positionals: { min: 1, max: 3 },
  async run(context) {
    const [action, word, group] = context.positionals;
    const directory = logDirectory(context.options.text('data-dir') ?? dataDirectoryOf(context.environment));
    if (action === 'consumers' && word === 'drop') {
      if (group === undefined) throw usageError(`'log consumers drop' needs the name of a group.`);
      return await dropGroup(context, directory, group);
    }
    if (action === 'consumers' && word === undefined) return await showConsumers(context, directory);
    if (group !== undefined) throw usageError(`'${group}' is one word too many.`);
    if (action === 'inspect') return await showPartitions(context, directory, word);
    if (action === 'verify') return await showVerdicts(context, directory, word);
    throw usageError(
      `'${action} ${word ?? ''}' is no action of log: inspect, verify, consumers, consumers drop.`,
    );
  },
};

const partitionColumns: readonly Column<PartitionFacts>[] = [
  { title: 'TOPIC', value: (row) => row.topic },
  { title: 'PARTITION', value: (row) => row.partition, align: 'right' },
  { title: 'EARLIEST', value: (row) => formatNumber(row.earliest), align: 'right' },
  { title: 'END', value: (row) => formatNumber(row.end), align: 'right' },
];

async function showPartitions(
  context: CommandContext,
  directory: string,
  topic: string | undefined,
): Promise<ExitCode> {
  const partitions = await withLog(directory, (log) => inspect(log, topicNames(directory, topic)));
  context.print({ partitions }, () => formatTable(partitions, partitionColumns));
  return exitCode.ok;
}

async function showVerdicts(
  context: CommandContext,
  directory: string,
  wanted: string | undefined,
): Promise<ExitCode> {
  const names = topicNames(directory, wanted);
  if (names.length === 0) throw noLog(directory);
  const report = await verifyLog(directory);
  const topics = report.topics.filter(({ topic }) => names.includes(topic));
  const columns: readonly Column<TopicReport>[] = [
    { title: 'TOPIC', value: (row) => row.topic },
    { title: 'SEGMENTS', value: (row) => formatNumber(row.segments), align: 'right' },
    { title: 'GROUPS', value: (row) => formatNumber(row.groups), align: 'right' },
    { title: 'RECORDS', value: (row) => formatNumber(recordsOf(row)), align: 'right' },
    { title: 'LAST APPEND', value: (row) => timeOf(row.lastAppendTimeMs) },
    { title: 'FOUND', value: (row) => foundIn(row) },
  ];
  context.print({ topics, groups: report.groups }, () => formatTable(topics, columns));
  return topics.every((topic) => topic.problem?.kind !== 'corrupt') ? exitCode.ok : exitCode.failed;
}

function recordsOf(topic: TopicReport): number {
  return topic.partitions.reduce((sum, partition) => sum + partition.records, 0);
}

function timeOf(timeMs: number | null): string {
  return timeMs === null ? '-' : new Date(timeMs).toISOString();
}

// An unfinished last group is what a kill leaves behind: nothing of it was acknowledged, and the next start cuts it off.
function foundIn({ problem }: TopicReport): string {
  if (problem === null) return 'whole';
  return `${problem.kind} at byte ${problem.byte} of ${problem.file}: ${problem.message}`;
}

async function showConsumers(context: CommandContext, directory: string): Promise<ExitCode> {
  const groups = await withLog(directory, (log) =>
    consumers(log, groupNames(directory), topicNames(directory, undefined)),
  );
  context.print({ groups }, () =>
    formatTable(groups, [
      { title: 'GROUP', value: (row) => row.group },
      { title: 'TOPIC', value: (row) => row.topic },
      { title: 'BEHIND', value: (row) => formatNumber(row.lag_records), align: 'right' },
      { title: 'OLDEST', value: (row) => `${formatNumber(row.lag_ms / 1000, 1)} s`, align: 'right' },
    ]),
  );
  return exitCode.ok;
}

async function dropGroup(context: CommandContext, directory: string, group: string): Promise<ExitCode> {
  const dropped = await withLog(directory, (log) => log.dropGroup(group));
  if (!dropped) {
    const known = groupNames(directory).join(', ') || 'none';
    throw usageError(`There is no group '${group}'; there are: ${known}.`);
  }
  context.print({ group, dropped }, () => `Group ${group} is forgotten; retention no longer waits for it.`);
  return exitCode.ok;
}
