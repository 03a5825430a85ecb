// The opaque cursor of lists of events: the place of the last event shown, in the order of the list.
import { formatPosition, type Position, parsePosition } from '../core/position.ts';
import { timeMsMax, timeMsMin } from '../core/time.ts';
import { storeError } from './errors.ts';

/** A place in a list that is ordered by time of receipt, then by position, both descending. */
export interface Place {
  readonly receivedAtMs: number;
  readonly position: Position;
}

/** Writes a cursor. */
export function formatCursor(place: Place): string {
  return Buffer.from(`${place.receivedAtMs}:${formatPosition(place.position)}`).toString('base64url');
}

/** Reads a cursor. Errors: PULSE_STORE_CURSOR_INVALID for anything that `formatCursor` did not write. */
export function parseCursor(text: string): Place {
  const match = /^(-?\d{1,16}):([\d.]+)$/.exec(Buffer.from(text, 'base64url').toString('latin1'));
  const position = match === null ? null : parsePosition(match[2] as string);
  const receivedAtMs = Number(match?.[1]);
  if (position === null || !(receivedAtMs >= timeMsMin && receivedAtMs <= timeMsMax)) {
    throw storeError('PULSE_STORE_CURSOR_INVALID', `'${text.slice(0, 100)}' is no cursor of this list.`);
  }
  return { receivedAtMs, position };
}
