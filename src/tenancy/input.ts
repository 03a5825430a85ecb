// Reads what callers ask for, field by field, and finds every mistake before it complains.
import { tenancyError } from './errors.ts';

/** One value that is not allowed. */
export interface InputFailure {
  /** JSON Pointer (RFC 6901) into the body, or the name of a query parameter. */
  readonly pointer: string;
  /** What was found and what is allowed. */
  readonly message: string;
}

/** Bounds of a text. */
export interface TextRule {
  readonly charsMax: number;
  readonly pattern?: RegExp;
  /** What is allowed, completing "must be …". */
  readonly allowed: string;
}

/**
 * The members of one object of the input. Every reader returns undefined when the member is missing (not required) or
 * wrong; wrong ones are kept in `failures`, and `finish` throws them all at once.
 */
export class InputObject {
  readonly failures: InputFailure[];
  readonly #members: Readonly<Record<string, unknown>>;
  readonly #pointer: string;
  readonly #read = new Set<string>();

  constructor(input: unknown, pointer = '', failures: InputFailure[] = []) {
    this.failures = failures;
    this.#pointer = pointer;
    const isObject = typeof input === 'object' && input !== null && !Array.isArray(input);
    if (!isObject) this.fail('', `must be an object, not ${shown(input)}`);
    this.#members = isObject ? (input as Record<string, unknown>) : {};
  }

  /** Notes a mistake of a member; '' stands for the object itself. */
  fail(name: string, message: string): undefined {
    const pointer = name === '' ? this.#pointer : this.#pointerOf(name);
    this.failures.push({ pointer, message: `${pointer === '' ? 'the body' : pointer} ${message}` });
    return undefined;
  }

  /** The member as it came; undefined when it is missing. */
  value(name: string, isRequired = false): unknown {
    this.#read.add(name);
    const value = Object.hasOwn(this.#members, name) ? this.#members[name] : undefined;
    if (value === undefined && isRequired) this.fail(name, 'is missing');
    return value;
  }

  text(name: string, rule: TextRule, isRequired = false): string | undefined {
    const value = this.value(name, isRequired);
    if (value === undefined) return undefined;
    if (isAllowedText(value, rule)) return value;
    return this.fail(name, `is ${shown(value)}; it must be ${rule.allowed}`);
  }

  integer(name: string, bounds: { min: number; max: number }, isRequired = false): number | undefined {
    const value = this.value(name, isRequired);
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && (value as number) >= bounds.min && (value as number) <= bounds.max) {
      return value as number;
    }
    return this.fail(
      name,
      `is ${shown(value)}; it must be a whole number from ${bounds.min} to ${bounds.max}`,
    );
  }

  choice<const Value extends string>(
    name: string,
    values: readonly Value[],
    isRequired = false,
  ): Value | undefined {
    const value = this.value(name, isRequired);
    if (value === undefined) return undefined;
    const found = values.find((candidate) => candidate === value);
    return found ?? this.fail(name, `is ${shown(value)}; it must be one of ${values.join(', ')}`);
  }

  /** A member that is an object; undefined when it is missing. Its mistakes are kept here too. */
  object(name: string): InputObject | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : new InputObject(value, this.#pointerOf(name), this.failures);
  }

  /** Notes members that nobody reads: a misspelt field must not be silently ignored. */
  refuseOthers(): void {
    for (const name of Object.keys(this.#members)) {
      if (!this.#read.has(name)) {
        this.fail(name, `is no field here; the fields are ${[...this.#read].join(', ')}`);
      }
    }
  }

  /** Errors: PULSE_TENANCY_REQUEST_INVALID with every mistake in `details.errors`. */
  finish(): void {
    this.refuseOthers();
    if (this.failures.length > 0) throw requestInvalid(this.failures);
  }

  #pointerOf(name: string): string {
    return `${this.#pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  }
}

/** The error for values that are not allowed. */
function requestInvalid(failures: readonly InputFailure[]): Error {
  const messages = failures.slice(0, 20).map((failure) => failure.message);
  return tenancyError('PULSE_TENANCY_REQUEST_INVALID', `${messages.join('; ')}.`, {
    details: { errors: failures.slice(0, 100) },
  });
}

/** Text that Postgres can hold too: no U+0000, no lone surrogate. */
function isAllowedText(value: unknown, rule: TextRule): value is string {
  return (
    typeof value === 'string' &&
    value.trim() !== '' &&
    value.length <= rule.charsMax &&
    isStorableText(value) &&
    (rule.pattern?.test(value) ?? true)
  );
}

/** False for text that neither Postgres text nor jsonb can hold. */
export function isStorableText(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}

/** A value as it is shown in a message: JSON, cut to 80 characters; of lists and objects only what they are. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  // Not serialised: input may nest deeper than JSON.stringify can go.
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
