// One dead letter on its way back: what would be appended for it, or why nothing is.
import { header } from '../../core/envelope.ts';
import { uuidv5 } from '../../core/ids.ts';
import type { Failure } from '../../core/outcome.ts';
import { formatPosition, type Position } from '../../core/position.ts';
import type { Queryable } from '../../database/types.ts';
import { type LogRecord, partitionFor, type StoredRecord } from '../../ports/event-log/event-log.ts';
import { attemptHeaders } from '../steps/attempts.ts';
import type { TopicFacts } from '../steps/identify.ts';
import { type Judged, judge } from '../steps/judge.ts';
import { applyPatch, type Patch } from './patch.ts';

/** What became of one item of a job; the closed set. */
export const itemResults = {
  reprocessed: 'Judged anew and valid: it is stored like any other event. In a dry run: it would be.',
  still_invalid: 'Judged anew and a dead letter again; `errors` says why.',
  duplicate: 'Its event id belongs to another event by now.',
  already_repaired: 'An earlier job has repaired it; nothing was done.',
  already_duplicate: 'An earlier job found it to be a duplicate; nothing was done.',
  discarded: 'It was discarded; nothing was done.',
  in_progress: 'Another job has it in hand; nothing was done.',
  attempts_exhausted: 'It has had as many attempts as allowed; nothing was done.',
  event_id_changed: 'The patch would change its event id; nothing was done.',
  patch_failed: 'The patch does not fit it; nothing was done.',
  unknown: 'There is no such dead letter of this tenant (any more).',
} as const;

export type ItemResult = keyof typeof itemResults;

/** A dead letter as repair needs it. */
export interface Letter {
  readonly id: string;
  readonly epoch: number;
  readonly partition: number;
  readonly record_offset: number;
  readonly stage: string;
  readonly event_id: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly attempts: number;
  readonly state: string;
  readonly payload: Buffer;
}

const columns = `dead_letter_id AS id, epoch, partition, record_offset, stage, event_id, headers, attempts, state, payload`;

/** Dead letters of one tenant by id; `lock` keeps them as they are until the transaction ends. */
export async function readLetters(
  client: Queryable,
  tenantId: string,
  ids: readonly string[],
  lock: boolean,
): Promise<ReadonlyMap<string, Letter>> {
  const { rows } = await client.query<Letter>(
    `SELECT ${columns} FROM dead_letters WHERE tenant_id = $1 AND dead_letter_id = ANY ($2::uuid[])
     ORDER BY dead_letter_id ${lock ? 'FOR UPDATE' : ''}`,
    [tenantId, ids],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Why nothing is done with a dead letter. */
export interface Refusal {
  readonly kind: 'refused';
  readonly result: ItemResult;
  readonly detail: string | null;
}

/** The next attempt of a dead letter. */
export interface NextAttempt {
  readonly kind: 'attempt';
  readonly letter: Letter;
  readonly attempt: number;
  readonly origin: Position;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  /** What the rules of now say to it. */
  readonly judged: Judged;
}

/** What is asked of every dead letter of a job. */
export interface Rules {
  readonly patch: Patch | null;
  readonly attemptsMax: number;
  readonly facts: TopicFacts;
  readonly nowMs: number;
}

/**
 * The next attempt of a dead letter, or why there is none.
 * Guarantees: the attempt keeps event id, receive time and headers of the original; it follows from the dead letter and the patch alone.
 */
export function prepare(letter: Letter | undefined, rules: Rules): NextAttempt | Refusal {
  if (letter === undefined) return refused('unknown', null);
  const closed = closedStates[letter.state];
  if (closed !== undefined) return refused(closed, null);
  if (letter.attempts >= rules.attemptsMax) {
    return refused('attempts_exhausted', `it has had ${letter.attempts} of ${rules.attemptsMax} attempts`);
  }
  const next = compose(letter, letter.attempts + 1, rules);
  if (next.kind === 'refused' || letter.event_id === null || next.judged.eventId === letter.event_id)
    return next;
  const { eventId } = next.judged;
  const changed = eventId === null ? 'no event id' : `the event id ${JSON.stringify(eventId)}`;
  return refused(
    'event_id_changed',
    `it would have ${changed} instead of ${JSON.stringify(letter.event_id)}`,
  );
}

const closedStates: Readonly<Record<string, ItemResult>> = {
  repaired: 'already_repaired',
  duplicate: 'already_duplicate',
  discarded: 'discarded',
  reprocessing: 'in_progress',
};

/** The attempt of this number, whatever the state of the dead letter; refused only when the patch does not fit. */
export function compose(letter: Letter, attempt: number, rules: Rules): NextAttempt | Refusal {
  const patched =
    rules.patch === null
      ? { ok: true as const, bytes: letter.payload }
      : applyPatch(letter.payload, rules.patch);
  if (!patched.ok) return refused('patch_failed', patched.message);
  const origin = { epoch: letter.epoch, partition: letter.partition, offset: letter.record_offset };
  const headers = headersOf(letter, origin, attempt);
  const judged = judge(recordOf(origin, headers, patched.bytes, rules.nowMs), rules.facts);
  return { kind: 'attempt', letter, attempt, origin, headers, bytes: patched.bytes, judged };
}

function refused(result: ItemResult, detail: string | null): Refusal {
  return { kind: 'refused', result, detail };
}

function headersOf(letter: Letter, origin: Position, attempt: number): Record<string, string> {
  const { [header.sourcePosition]: _, ...kept } = letter.headers;
  // Without any id the original would have got one from its own position; so do its attempts, all the same one.
  const id = letter.event_id ?? kept[header.id] ?? uuidv5(formatPosition(origin));
  return { ...kept, [header.id]: id, ...attemptHeaders(origin, attempt) };
}

function recordOf(
  origin: Position,
  headers: Readonly<Record<string, string>>,
  value: Buffer,
  nowMs: number,
): StoredRecord {
  return {
    partition: origin.partition,
    offset: origin.offset,
    key: null,
    headers,
    value,
    appendTimeMs: nowMs,
  };
}

/** Every failure of an attempt that the rules of now refuse; null when they take it. */
export function failuresOf({ judged }: NextAttempt): readonly Failure[] | null {
  return judged.kind === 'dead_letter' ? judged.deadLetter.failures : null;
}

/** The raw topic that attempts are appended to. */
export interface Target {
  readonly topic: string;
  readonly partitions: number;
  readonly epoch: number;
}

/** The record of an attempt: beside its original while that topic lives, else where its event id belongs. */
export function toRecord(attempt: NextAttempt, target: Target): LogRecord {
  const key = attempt.headers[header.id] ?? null;
  const { origin } = attempt;
  const isSameTopic = origin.epoch === target.epoch && origin.partition < target.partitions;
  const partition = isSameTopic ? origin.partition : partitionFor(key ?? '', target.partitions);
  return { partition, key, headers: attempt.headers, value: attempt.bytes };
}
