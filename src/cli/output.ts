// How results and errors look: tables for people, one JSON value for programs.
import { stripVTControlCharacters } from 'node:util';
import { PulseError } from '../core/errors.ts';
import { ApiProblem } from './api.ts';
import { type ExitCode, exitCode } from './errors.ts';

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => unknown;
  readonly align?: 'right';
}

/**
 * Rows as an aligned text table. Control characters of values are removed, so that stored data cannot write to the terminal.
 * Shape: a header line, then a line per row; only the widest column is cut when a line would be wider than `columns`.
 */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  width = Number.POSITIVE_INFINITY,
): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.value(row))));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((line) => (line[i] as string).length)),
  );
  const gap = 2;
  const total = widths.reduce((sum, each) => sum + each + gap, -gap);
  if (total > width) {
    const widest = widths.indexOf(Math.max(...widths));
    widths[widest] = Math.max(12, (widths[widest] as number) - (total - width));
  }
  const line = (values: readonly string[]): string =>
    values
      .map((value, i) => {
        const limit = widths[i] as number;
        const cut = value.length > limit ? `${value.slice(0, limit - 1)}…` : value;
        return columns[i]?.align === 'right' ? cut.padStart(limit) : cut.padEnd(limit);
      })
      .join(' '.repeat(gap))
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...cells.map(line)].join('\n');
}

/** Name and value, one pair a line. */
export function formatPairs(pairs: readonly (readonly [string, unknown])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${cellText(value)}`.trimEnd()).join('\n');
}

/** A value as one line of plain text. */
export function cellText(value: unknown): string {
  if (value === null || value === undefined) return '–';
  const text =
    typeof value === 'string' ? value : typeof value === 'object' ? JSON.stringify(value) : String(value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: removing them is the point.
  return stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}

/** 1234567 as "1,234,567"; fractions keep `digits` places. */
export function formatNumber(value: number, digits = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Bytes with a binary unit. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${formatNumber(value, unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** An error as people read it: title, detail, next move, request id. Unforeseen errors keep their stack. */
export function formatError(error: unknown): string {
  if (error instanceof ApiProblem) {
    return lines([
      `${error.title} (${error.code}, HTTP ${error.status})`,
      error.message === error.title ? null : error.message,
      ...problemErrors(error),
      error.next === null ? null : `Next: ${error.next}`,
      error.requestId === null ? null : `Request id: ${error.requestId}`,
    ]);
  }
  if (error instanceof PulseError) {
    return lines([`${error.title} (${error.code})`, error.message, `Next: ${error.next}`]);
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function problemErrors(error: ApiProblem): string[] {
  const { errors } = error.problem;
  if (!Array.isArray(errors)) return [];
  return errors.slice(0, 20).map((entry) => `- ${cellText(entry)}`);
}

/** An error as `--json` prints it. */
export function errorJson(error: unknown): Readonly<Record<string, unknown>> {
  if (error instanceof ApiProblem) return { status: error.status, code: error.code, ...error.problem };
  if (error instanceof PulseError) {
    return {
      code: error.code,
      title: error.title,
      detail: error.message,
      next: error.next,
      ...error.details,
    };
  }
  return { code: 'PULSE_CLI_DEFECT', detail: error instanceof Error ? error.message : String(error) };
}

export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof PulseError)) return exitCode.failed;
  if (error.code === 'PULSE_CLI_USAGE') return exitCode.usage;
  return error.code === 'PULSE_CLI_UNREACHABLE' ? exitCode.unreachable : exitCode.failed;
}

function lines(parts: readonly (string | null)[]): string {
  return parts.filter((part) => part !== null).join('\n');
}
