// What a command of the command line is: its words, its options, and what it is given when it runs.
import type { Api } from './api.ts';
import type { ExitCode } from './errors.ts';

/** One option of a command, by its long name. */
interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly help: string;
  /** Word for the value in the help, for example `N`, `DIR`. */
  readonly value?: string;
  readonly short?: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Where output goes. Tests hand in their own. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** True when standard output is a terminal: tables, colours, live progress. */
  readonly isTerminal: boolean;
  /** Width in columns. */
  readonly columns: number;
}

/** The options of one call, read by type. */
export interface Options {
  text(name: string): string | undefined;
  flag(name: string): boolean;
  /** Errors: PULSE_CLI_USAGE when it is no number inside the limits. */
  number(name: string, limits: NumberLimits): number;
}

export interface NumberLimits {
  readonly defaultValue: number;
  readonly min: number;
  readonly max: number;
  readonly integer?: boolean;
}

export interface CommandContext {
  readonly options: Options;
  readonly positionals: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
  /** True with `--json`: one JSON value (or NDJSON for streams) on standard output and nothing else. */
  readonly json: boolean;
  /** Ends when the user presses Ctrl-C. */
  readonly signal: AbortSignal;
  /** The running Pulse, called with the credential found. Errors: PULSE_CLI_CREDENTIAL_MISSING. */
  api(): Api;
  /** Writes `value` as JSON with --json, else what `text` makes of it. */
  print(value: unknown, text: () => string): void;
}

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Forms of the call behind `pulse `, one per line. */
  readonly usage: readonly string[];
  /** Lines under the usage, where the options do not say it all. */
  readonly notes?: readonly string[];
  readonly options: OptionTable;
  /** Fewest and most positional words behind the command's name. */
  readonly positionals: { readonly min: number; readonly max: number };
  run(context: CommandContext): Promise<ExitCode>;
}
