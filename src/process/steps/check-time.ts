// Step 3: the event's own time, or the time of receipt when it names none.
import type { Failure } from '../../core/outcome.ts';
import { parseTime } from '../../core/time.ts';
import type { CheckedEnvelope } from './check-envelope.ts';

/** The event time in milliseconds since the epoch, or why there is none. */
export type CheckedTime =
  | { readonly ok: true; readonly eventTimeMs: number }
  | { readonly ok: false; readonly failure: Failure };

/** Reads the event time. Ranges: 0001-01-01 to 9999-12-31; how far it lies from now is never judged here. */
export function checkTime(time: CheckedEnvelope['time'], receivedAtMs: number): CheckedTime {
  if (time === null) return { ok: true, eventTimeMs: receivedAtMs };
  const parsed = parseTime(time.value);
  if (parsed.ok) return { ok: true, eventTimeMs: parsed.timeMs };
  return {
    ok: false,
    failure: {
      pointer: time.pointer,
      rule: parsed.rule,
      message: `${time.pointer.slice(1)} ${parsed.message}`,
    },
  };
}
