// `pulse events`: searches the stored events.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';
import { listRows, pageOptions, rangeOptions } from '../lists.ts';
import { formatTable } from '../output.ts';

export const eventsCommand: Command = {
  name: 'events',
  summary: 'Search stored events.',
  usage: ['events [--type TYPE] [--id ID] [--from TIME] [--to TIME] [--query JSONPATH] [--limit N]'],
  options: {
    id: { type: 'string', value: 'ID', help: 'The event with this id.' },
    type: { type: 'string', value: 'TYPE', help: 'Events of this type.' },
    'idempotency-key': { type: 'string', value: 'KEY', help: 'Events sent with this Idempotency-Key.' },
    query: {
      type: 'string',
      value: 'Q',
      help: 'JSON path condition on the event, as `q` of GET /v1/events.',
    },
    ...rangeOptions,
    ...pageOptions,
  },
  positionals: { min: 0, max: 0 },
  async run(context) {
    const { options } = context;
    const events = await listRows(context, '/v1/events', 'events', {
      event_id: options.text('id'),
      event_type: options.text('type'),
      idempotency_key: options.text('idempotency-key'),
      q: options.text('query'),
      from: options.text('from'),
      to: options.text('to'),
    });
    context.print({ events }, () =>
      formatTable(
        events,
        [
          { title: 'RECEIVED', value: (row) => row['received_at'] },
          { title: 'TENANT', value: (row) => row['tenant_id'] },
          { title: 'EVENT', value: (row) => row['event_id'] },
          { title: 'TYPE', value: (row) => row['event_type'] },
          { title: 'DATA', value: (row) => row['data'] },
        ],
        context.terminal.columns,
      ),
    );
    return exitCode.ok;
  },
};
