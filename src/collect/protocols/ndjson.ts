// NDJSON: one native event a line, each line judged alone. One broken line never fails its neighbours.
import { isUtf8 } from 'node:buffer';
import { PulseError } from '../../core/errors.ts';
import { skipSpace } from '../../core/json-scan.ts';
import { collectError } from '../errors.ts';
import { splitNative, trimmed } from './native.ts';
import type { IncomingEvent, LineError, SplitBody, SplitLimits } from './split.ts';

const NEW_LINE = 0x0a;

/**
 * Splits an NDJSON body. Blank lines are ignored and not counted; a carriage return before the line end is white space.
 * Errors: PULSE_COLLECT_BODY_EMPTY when all lines are blank, PULSE_COLLECT_EVENTS_TOO_MANY; what is wrong with a single
 * line is listed in `errors` instead.
 */
export function splitNdjson(body: Buffer, limits: SplitLimits): SplitBody {
  const events: IncomingEvent[] = [];
  const errors: LineError[] = [];
  let index = 0;
  for (let at = 0; at < body.length; ) {
    const newLine = body.indexOf(NEW_LINE, at);
    const lineEnd = newLine === -1 ? body.length : newLine;
    const start = skipSpace(body, at);
    if (start < lineEnd) {
      if (index >= limits.eventsMax) {
        throw collectError('PULSE_COLLECT_EVENTS_TOO_MANY', `A request may hold ${limits.eventsMax} events.`);
      }
      const line = trimmed(body.subarray(start, lineEnd), 0);
      takeLine(line, index, limits, events, errors);
      index++;
      at = lineEnd + 1;
    } else {
      // The white space ran over line ends: go on at the line where something stands.
      at = start;
    }
  }
  if (index === 0) throw collectError('PULSE_COLLECT_BODY_EMPTY', 'Every line of the body is blank.');
  return { protocol: 'native', events, errors, headers: null };
}

function takeLine(
  line: Buffer,
  index: number,
  limits: SplitLimits,
  events: IncomingEvent[],
  errors: LineError[],
): void {
  try {
    const event = splitNative(line, 'one', limits).events[0] as IncomingEvent;
    events.push({ ...event, index });
  } catch (error) {
    if (!(error instanceof PulseError)) throw error;
    errors.push({ index, code: error.code, detail: lineDetail(error, line, index), pointer: '' });
  }
}

function lineDetail(error: PulseError, line: Buffer, index: number): string {
  if (!isUtf8(line)) return `Line ${index} holds bytes that are not UTF-8.`;
  return error.message.replace(/^(The body|Event 0)/, `Line ${index}`);
}
