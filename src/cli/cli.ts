// The command line: finds the command, reads its words, runs it, and turns errors into text and exit codes.
import { nearestName } from '../core/settings.ts';
import { Api } from './api.ts';
import { parseArguments } from './arguments.ts';
import type { Command, CommandContext, Terminal } from './command.ts';
import { credentialOf, originOf } from './connection.ts';
import { cliError, type ExitCode, exitCode, usageError } from './errors.ts';
import { commandHelp, overview } from './help.ts';
import { errorJson, exitCodeOf, formatError } from './output.ts';
import { commandNames, loadCommand } from './registry.ts';

export interface CliInput {
  /** The words behind `pulse`. */
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/** Runs one command. Guarantees: never throws; every error is printed and becomes an exit code. */
export async function runCli(input: CliInput): Promise<ExitCode> {
  const { words, terminal } = input;
  const json = words.includes('--json');
  try {
    const [name, ...rest] = words;
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
      terminal.out(rest[0] === undefined || rest[0] === '--json' ? await overview() : await helpOf(rest[0]));
      return exitCode.ok;
    }
    const command = await commandOf(name === '--version' ? 'version' : name);
    if (rest.includes('--help') || rest.includes('-h')) {
      terminal.out(commandHelp(command));
      return exitCode.ok;
    }
    return await command.run(contextOf(command, rest, input));
  } catch (error) {
    if (input.signal.aborted) return exitCode.interrupted;
    if (json) terminal.out(JSON.stringify({ error: errorJson(error) }));
    else terminal.error(formatError(error));
    return exitCodeOf(error);
  }
}

async function helpOf(name: string): Promise<string> {
  return commandHelp(await commandOf(name));
}

async function commandOf(name: string): Promise<Command> {
  const command = await loadCommand(name);
  if (command !== null) return command;
  const nearest = nearestName(name, commandNames);
  const hint = nearest === null ? '' : ` Did you mean '${nearest}'?`;
  throw usageError(`'${name}' is no command of pulse.${hint}`);
}

function contextOf(command: Command, words: readonly string[], input: CliInput): CommandContext {
  const { environment, terminal, signal } = input;
  const { options, positionals } = parseArguments(words, command.options);
  const { min, max } = command.positionals;
  if (positionals.length < min || positionals.length > max) {
    const found =
      positionals.length < min ? 'A word is missing' : `'${positionals[max]}' is one word too many`;
    throw usageError(`${found}. Usage: ${command.usage.map((form) => `pulse ${form}`).join(' | ')}`);
  }
  const json = options.flag('json');
  return {
    options,
    positionals,
    environment,
    terminal,
    json,
    signal,
    api: () => {
      const origin = originOf(options.text('url'), environment);
      const credential = credentialOf(options.text('key'), origin, environment);
      if (credential === null) {
        throw cliError('PULSE_CLI_CREDENTIAL_MISSING', `No credential for ${origin} was found.`);
      }
      return new Api({ origin, credential, signal });
    },
    print: (value, text) => terminal.out(json ? JSON.stringify(value) : text()),
  };
}
