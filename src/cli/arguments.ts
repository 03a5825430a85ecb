// Reads the words behind a command against its option table; every mistake names the nearest valid word.
import { parseArgs } from 'node:util';
import { nearestName } from '../core/settings.ts';
import type { NumberLimits, Options, OptionTable } from './command.ts';
import { usageError } from './errors.ts';

/** Options that every command takes. */
export const globalOptions = {
  json: { type: 'boolean', help: 'Print JSON instead of a table.' },
  url: { type: 'string', value: 'URL', help: 'Address of Pulse; default from PULSE_HOST and PULSE_PORT.' },
  key: { type: 'string', value: 'KEY', help: 'Credential; PULSE_API_KEY keeps it out of the process list.' },
  help: { type: 'boolean', short: 'h', help: 'Show this help.' },
} as const satisfies OptionTable;

export interface ParsedArguments {
  readonly options: Options;
  readonly positionals: readonly string[];
}

/**
 * Reads `words` (without the command's name).
 * Errors: PULSE_CLI_USAGE for an unknown option (with the nearest known one), a missing or an extra value.
 */
export function parseArguments(words: readonly string[], own: OptionTable): ParsedArguments {
  const table: OptionTable = { ...globalOptions, ...own };
  const config: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, { type, short }] of Object.entries(table)) {
    config[name] = { type, ...(short === undefined ? {} : { short }) };
  }
  const parsed = parseArgs({
    args: [...words],
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string>();
  for (const token of parsed.tokens) {
    if (token.kind !== 'option') continue;
    const spec = table[token.name];
    if (spec === undefined) throw unknownOption(token.rawName, Object.keys(table));
    if (spec.type === 'string' && token.value === undefined) {
      throw usageError(`${token.rawName} needs a value: ${token.rawName} ${spec.value ?? 'VALUE'}.`);
    }
    if (spec.type === 'boolean' && token.value !== undefined) {
      throw usageError(`${token.rawName} takes no value, but '${token.value}' was given.`);
    }
    if (values.has(token.name) && spec.type === 'string') {
      throw usageError(`${token.rawName} was given twice.`);
    }
    values.set(token.name, token.value ?? 'true');
  }
  return { options: new ParsedOptions(values), positionals: parsed.positionals };
}

function unknownOption(rawName: string, known: readonly string[]): Error {
  const nearest = nearestName(rawName.replace(/^-+/, ''), known);
  const hint = nearest === null ? '' : ` Did you mean --${nearest}?`;
  return usageError(`${rawName} is no option of this command.${hint}`);
}

class ParsedOptions implements Options {
  readonly #values: ReadonlyMap<string, string>;

  constructor(values: ReadonlyMap<string, string>) {
    this.#values = values;
  }

  text(name: string): string | undefined {
    return this.#values.get(name);
  }

  flag(name: string): boolean {
    return this.#values.has(name);
  }

  number(name: string, limits: NumberLimits): number {
    const text = this.text(name);
    if (text === undefined) return limits.defaultValue;
    const pattern = limits.integer === false ? /^-?\d{1,15}(\.\d{1,9})?$/ : /^-?\d{1,15}$/;
    const value = pattern.test(text) ? Number(text) : Number.NaN;
    if (value >= limits.min && value <= limits.max) return value;
    const kind = limits.integer === false ? 'a number' : 'a whole number';
    throw usageError(`--${name}='${text}' is not ${kind} from ${limits.min} to ${limits.max}.`);
  }
}
