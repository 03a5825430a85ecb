// Cursors of lists: opaque to callers, so that what a list is ordered by can change without breaking them. No I/O.

/** Where a list goes on: the sort values of the last row that was shown. */
export type CursorValues = readonly (string | number)[];

const cursorCharsMax = 2048;

/** Writes a cursor. It is not signed: a reader must check its values like any other input. */
export function encodeCursor(values: CursorValues): string {
  return Buffer.from(JSON.stringify(values), 'utf8').toString('base64url');
}

/**
 * Reads what `encodeCursor` wrote; null when the text is anything else, or holds other types than `shape` says.
 * Shape: one of `string` or `number` (finite) for each value, in order.
 */
export function decodeCursor(text: string, shape: readonly ('string' | 'number')[]): CursorValues | null {
  if (text.length > cursorCharsMax || !/^[A-Za-z0-9_-]+$/.test(text)) return null;
  let values: unknown;
  try {
    values = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
  } catch {
    return null; // Not JSON: not one of ours, which is all that the caller needs to know.
  }
  if (!Array.isArray(values) || values.length !== shape.length) return null;
  const fits = values.every(
    (value: unknown, i) => typeof value === shape[i] && (typeof value !== 'number' || Number.isFinite(value)),
  );
  return fits ? (values as CursorValues) : null;
}
