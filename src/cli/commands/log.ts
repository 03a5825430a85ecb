// `pulse log …`: looks into the embedded log on disk. Safe beside a running Pulse; only `consumers drop` changes anything.
import type { Command, CommandContext } from '../command.ts';
import { dataDirectoryOf } from '../connection.ts';
import { type ExitCode, exitCode, usageError } from '../errors.ts';
import {
  consumers,
  groupNames,
  inspect,
  logDirectory,
  type PartitionFacts,
  type PartitionVerdict,
  topicNames,
  verify,
  withLog,
} from '../log-files.ts';
import { type Column, formatBytes, formatNumber, formatTable } from '../output.ts';

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
  topic: string | undefined,
): Promise<ExitCode> {
  const verdicts = await withLog(directory, async (log) => {
    const found: PartitionVerdict[] = [];
    for (const facts of await inspect(log, topicNames(directory, topic)))
      found.push(await verify(log, facts));
    return found;
  });
  const columns: readonly Column<PartitionVerdict>[] = [
    ...partitionColumns,
    { title: 'RECORDS', value: (row) => formatNumber(row.records), align: 'right' },
    { title: 'VALUES', value: (row) => formatBytes(row.bytes), align: 'right' },
    { title: 'FOUND', value: (row) => row.problem ?? 'whole' },
  ];
  context.print({ partitions: verdicts }, () => formatTable(verdicts, columns));
  return verdicts.every((verdict) => verdict.problem === null) ? exitCode.ok : exitCode.failed;
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
