// Settings: how a room declares them, and how the environment is read. All mistakes are reported together.
import { readFileSync } from 'node:fs';
import { defineErrors } from './errors.ts';

const settingsError = defineErrors({
  PULSE_CONFIG_INVALID: {
    status: 500,
    title: 'The configuration has mistakes.',
    retryable: false,
    next: 'Mend each setting that the message lists; docs/reference/settings.md names every setting.',
  },
});

interface SettingBase<Value> {
  /** What the setting does, as one sentence. */
  readonly help: string;
  /** Unit of the value (`ms`, `bytes`, `events` …); '' for none. */
  readonly unit: string;
  /** Value when the variable is unset. */
  readonly defaultValue: Value;
  /** True when the value must never be shown. Secrets may also come from a file named by `<NAME>_FILE`. */
  readonly secret: boolean;
  /** What is allowed, for messages and the reference. */
  readonly allowed: string;
  /** Returns the value, or throws an Error whose message completes "<NAME>='…' …". */
  readonly parse: (text: string) => Value;
}

/** One setting; made by `integer`, `text`, `choice`, `flag` or `url`. */
export type Setting<Value> = SettingBase<Value>;

/** A room's settings by variable name. */
// biome-ignore lint/suspicious/noExplicitAny: a table of settings of any value type; values stay typed by SettingValues.
export type SettingsTable = Readonly<Record<string, Setting<any>>>;

/** The typed values of a table. */
export type SettingValues<Table extends SettingsTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Setting<infer Value> ? Value : never;
};

export function integer(options: {
  help: string;
  unit: string;
  defaultValue: number;
  min: number;
  max: number;
}): Setting<number> {
  const allowed = `a whole number from ${options.min} to ${options.max}`;
  return {
    ...options,
    secret: false,
    allowed,
    parse: (text) => {
      const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
      if (!(value >= options.min && value <= options.max)) throw new Error(`is not ${allowed}`);
      return value;
    },
  };
}

export function text(options: {
  help: string;
  defaultValue: string;
  secret?: boolean;
  pattern?: RegExp;
  allowed?: string;
}): Setting<string> {
  const allowed = options.allowed ?? 'any text';
  return {
    help: options.help,
    unit: '',
    defaultValue: options.defaultValue,
    secret: options.secret ?? false,
    allowed,
    parse: (value) => {
      if (options.pattern !== undefined && !options.pattern.test(value)) throw new Error(`is not ${allowed}`);
      return value;
    },
  };
}

export function choice<const Value extends string>(options: {
  help: string;
  defaultValue: Value;
  values: readonly Value[];
}): Setting<Value> {
  const allowed = `one of ${options.values.join(', ')}`;
  return {
    help: options.help,
    unit: '',
    defaultValue: options.defaultValue,
    secret: false,
    allowed,
    parse: (value) => {
      const found = options.values.find((candidate) => candidate === value);
      if (found === undefined) throw new Error(`is not ${allowed}`);
      return found;
    },
  };
}

export function flag(options: { help: string; defaultValue: boolean }): Setting<boolean> {
  return {
    ...options,
    unit: '',
    secret: false,
    allowed: 'true or false',
    parse: (value) => {
      if (value === 'true' || value === '1') return true;
      if (value === 'false' || value === '0') return false;
      throw new Error('is not true or false');
    },
  };
}

/** A URL of one of the given schemes; '' (the default) means "embedded". */
export function url(options: {
  help: string;
  schemes: readonly string[];
  secret?: boolean;
}): Setting<string> {
  const allowed = `a URL that starts with ${options.schemes.map((scheme) => `${scheme}:`).join(' or ')}`;
  return {
    help: options.help,
    unit: '',
    defaultValue: '',
    secret: options.secret ?? false,
    allowed,
    parse: (value) => {
      const scheme = value.slice(0, Math.max(0, value.indexOf(':')));
      if (!options.schemes.includes(scheme) || !URL.canParse(value)) throw new Error(`is not ${allowed}`);
      return value;
    },
  };
}

/**
 * Reads a table of settings from the environment.
 * Guarantees: every mistake is found and reported in one error: bad values, unreadable secret files, a variable set
 * twice (`X` and `X_FILE`), and unknown `PULSE_` variables with the nearest known name. Values of secrets are never shown.
 * Errors: `PULSE_CONFIG_INVALID`, with `details.problems`, one sentence each.
 */
export function readSettings<const Table extends SettingsTable>(
  table: Table,
  environment: Readonly<Record<string, string | undefined>>,
): SettingValues<Table> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(table)) {
    const raw = rawValue(name, setting, environment, problems);
    values[name] = setting.defaultValue;
    if (raw === undefined || raw === '') continue;
    try {
      values[name] = setting.parse(raw);
    } catch (error) {
      const shown = setting.secret ? '(secret)' : `'${raw}'`;
      problems.push(`${name}=${shown} ${(error as Error).message}. ${setting.help}`);
    }
  }
  problems.push(...unknownVariables(table, environment));
  if (problems.length > 0) {
    throw settingsError(
      'PULSE_CONFIG_INVALID',
      `The configuration has ${problems.length} mistake(s):\n- ${problems.join('\n- ')}`,
      {
        details: { problems },
      },
    );
  }
  return values as SettingValues<Table>;
}

function rawValue(
  name: string,
  setting: Setting<unknown>,
  environment: Readonly<Record<string, string | undefined>>,
  problems: string[],
): string | undefined {
  const direct = environment[name];
  const file = setting.secret ? environment[`${name}_FILE`] : undefined;
  if (file === undefined || file === '') return direct;
  if (direct !== undefined && direct !== '') {
    problems.push(`${name} and ${name}_FILE are both set. Keep one of them.`);
    return undefined;
  }
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    problems.push(
      `${name}_FILE='${file}' cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}). Name a readable file.`,
    );
    return undefined;
  }
}

function unknownVariables(
  table: SettingsTable,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  const known = new Set(Object.keys(table));
  for (const [name, setting] of Object.entries(table)) if (setting.secret) known.add(`${name}_FILE`);
  const problems: string[] = [];
  for (const name of Object.keys(environment)) {
    if (!name.startsWith('PULSE_') || known.has(name)) continue;
    const nearest = nearestName(name, known);
    problems.push(
      `${name} is no setting of Pulse.${nearest === null ? ' Remove it.' : ` Did you mean ${nearest}?`}`,
    );
  }
  return problems;
}

/** The known name at the smallest edit distance, when that is at most a third of its length, or one letter. */
export function nearestName(name: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.ceil(name.length / 3));
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}
