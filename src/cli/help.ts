// The text of `pulse help` and `pulse <command> --help`, made from the commands' own tables.
import { globalOptions } from './arguments.ts';
import type { Command, OptionTable } from './command.ts';
import { loadCommands } from './registry.ts';

/** The list of commands. */
export async function overview(): Promise<string> {
  const commands = await loadCommands();
  const width = Math.max(...commands.map((command) => command.name.length), 4);
  return [
    'Usage: npm run pulse -- <command> [options]',
    '',
    'Commands:',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    `  ${'help'.padEnd(width)}  Show this list, or the options of one command.`,
    '',
    'Options of every command:',
    ...optionLines(globalOptions),
    '',
    'Exit codes: 0 done · 1 refused, or a check found something · 2 wrong usage · 3 Pulse does not answer · 130 interrupted',
  ].join('\n');
}

/** One command in full. */
export function commandHelp(command: Command): string {
  return [
    command.summary,
    '',
    ...command.usage.map((form, i) => `${i === 0 ? 'Usage:' : '      '} npm run pulse -- ${form}`),
    ...(command.notes === undefined ? [] : ['', ...command.notes]),
    '',
    'Options:',
    ...optionLines({ ...command.options, ...globalOptions }),
  ].join('\n');
}

function optionLines(table: OptionTable): string[] {
  const entries = Object.entries(table).map(([name, spec]) => {
    const value = spec.type === 'string' ? ` ${spec.value ?? 'VALUE'}` : '';
    return [`${spec.short === undefined ? '' : `-${spec.short}, `}--${name}${value}`, spec.help] as const;
  });
  const width = Math.max(...entries.map(([words]) => words.length));
  return entries.map(([words, help]) => `  ${words.padEnd(width)}  ${help}`);
}
