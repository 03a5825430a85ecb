// `pulse tail`: prints events as they are stored, until Ctrl-C.
import type { Command } from '../command.ts';
import { exitCode } from '../errors.ts';
import { cellText } from '../output.ts';

export const tailCommand: Command = {
  name: 'tail',
  summary: 'Print events as they are stored, until Ctrl-C.',
  usage: ['tail [--type TYPE] [--limit N]'],
  options: {
    type: { type: 'string', value: 'TYPE', help: 'Only events of this type.' },
    tenant: { type: 'string', value: 'ID', help: 'Only this tenant (administrator).' },
    limit: { type: 'string', value: 'N', help: 'End after so many events.' },
  },
  positionals: { min: 0, max: 0 },
  async run(context) {
    const { options, terminal, json } = context;
    const limit = options.number('limit', {
      defaultValue: Number.MAX_SAFE_INTEGER,
      min: 1,
      max: Number.MAX_SAFE_INTEGER,
    });
    const query = { event_type: options.text('type'), tenant_id: options.text('tenant') };
    let seen = 0;
    for await (const { event, data } of context.api().stream('/v1/events/stream', query)) {
      // Other kinds of messages say how the stream itself is doing, for example that it fell behind.
      const isEvent = data['event_id'] !== undefined;
      if (json) terminal.out(JSON.stringify(isEvent ? data : { stream: event, ...data }));
      else if (isEvent) {
        const { received_at, tenant_id, event_id, event_type } = data;
        terminal.out([received_at, tenant_id, event_type, event_id, data['data']].map(cellText).join('  '));
      } else terminal.error(`${event}: ${cellText(data)}`);
      if (isEvent) seen++;
      if (seen >= limit) break;
    }
    return exitCode.ok;
  },
};
