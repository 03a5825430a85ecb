// Query parameters of the lists: page size, cursor, and range of time.
import { type CursorValues, decodeCursor } from '../core/cursor.ts';
import { formatTime, parseTime, timeMsMin } from '../core/time.ts';
import { InputObject, shown } from './input.ts';

const limitMax = 1000;
const limitDefault = 100;
const dayMs = 86_400_000;

/** A range of time, milliseconds since the epoch; `to` is exclusive. */
export interface TimeRange {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Reads query parameters, which are all texts, and keeps every mistake. */
export class QueryInput {
  readonly #fields: InputObject;

  constructor(query: unknown) {
    this.#fields = new InputObject(query);
  }

  text(name: string): string | null {
    const value = this.#fields.value(name);
    if (value === undefined || typeof value === 'string') return value ?? null;
    this.#fields.fail(name, `is ${shown(value)}; give it once`);
    return null;
  }

  limit(): number {
    const text = this.text('limit');
    if (text === null) return limitDefault;
    const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
    if (value >= 1 && value <= limitMax) return value;
    this.#fields.fail('limit', `is ${shown(text)}; it must be a whole number from 1 to ${limitMax}`);
    return limitDefault;
  }

  /** The values of `cursor`, when `isValid` says that a page can start there; null when there is none. */
  cursor<Values extends CursorValues>(
    shape: readonly ('string' | 'number')[],
    isValid: (values: Values) => boolean,
  ): Values | null {
    const text = this.text('cursor');
    if (text === null) return null;
    const values = decodeCursor(text, shape) as Values | null;
    if (values !== null && isValid(values)) return values;
    this.#fields.fail('cursor', `is ${shown(text)}; it must be the next_cursor of the page before`);
    return null;
  }

  /** `name` as an RFC 3339 time or a date (midnight UTC); null when it is missing. */
  time(name: string): number | null {
    const text = this.text(name);
    if (text === null) return null;
    const time = parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
    if (time.ok) return time.timeMs;
    this.#fields.fail(
      name,
      `is ${shown(text)}; it must be a date (2026-01-31) or a time (2026-01-31T12:00:00Z)`,
    );
    return null;
  }

  /** `from` and `to`; by default the `defaultDays` until now. At most `maxDays` apart. */
  range(nowMs: number, defaultDays: number, maxDays: number): TimeRange {
    const toMs = this.time('to') ?? nowMs;
    const fromMs = this.time('from') ?? Math.max(timeMsMin, toMs - defaultDays * dayMs);
    if (fromMs >= toMs) {
      this.#fields.fail('from', `is ${formatTime(fromMs)}; it must lie before to, ${formatTime(toMs)}`);
    } else if (toMs - fromMs > maxDays * dayMs) {
      this.#fields.fail('from', `lies more than ${maxDays} days before to; ask for a shorter range`);
    }
    return { fromMs, toMs };
  }

  /** Errors: PULSE_TENANCY_REQUEST_INVALID with every mistake, unknown parameters among them. */
  finish(): void {
    this.#fields.finish();
  }
}
