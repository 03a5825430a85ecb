// Further attempts of dead letters: which record is which attempt, and what its verdict does to the dead letter and the counts.
// The ledger of attempts works like that of event ids: a record is the attempt iff the table holds its own position.
import { header } from '../../core/envelope.ts';
import { uuidv5 } from '../../core/ids.ts';
import { formatPosition, type Position } from '../../core/position.ts';
import type { Queryable } from '../../database/types.ts';
import { fingerprintOf } from '../dead-letters/fingerprint.ts';
import type { Judged } from './judge.ts';

/** A judged record beyond the first attempt, with the position of its dead letter. */
interface Attempt {
  readonly judged: Judged;
  readonly origin: Position;
  readonly key: string;
}

/** What became of a judged record; `repeat`: an attempt that is in the log twice, without any effect. */
export type Verdict = 'valid' | 'duplicate' | 'dead_letter' | 'repeat';

function attemptsOf(judged: Iterable<Judged>): readonly Attempt[] {
  const attempts: Attempt[] = [];
  for (const one of judged) {
    const { origin, tenantId, attempt } = one.subject;
    if (origin === null) continue;
    attempts.push({ judged: one, origin, key: `${tenantId}\n${formatPosition(origin)}\n${attempt}` });
  }
  return attempts;
}

/**
 * Finds the records that are no attempt of their own: another record was judged as the same attempt before.
 * Guarantees: asked again, it gives the same answer. Must run in the claim's transaction, before any id is claimed: after the ledger's
 * horizon a repeat could win its id a second time. Costs nothing for batches without attempts.
 */
export async function findRepeats(client: Queryable, judged: Iterable<Judged>): Promise<ReadonlySet<Judged>> {
  const attempts = attemptsOf(judged);
  if (attempts.length === 0) return new Set();
  const firsts = new Map<string, Attempt>();
  for (const attempt of attempts) if (!firsts.has(attempt.key)) firsts.set(attempt.key, attempt);
  // Sorted, so that two batches cannot wait for each other.
  const candidates = [...firsts.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  await client.query(insertSql, [...keyColumns(candidates), ...positionColumns(candidates)], {
    name: 'process_attempts',
  });
  // A second statement, because its snapshot sees what a concurrent batch committed while the first one waited for it.
  const { rows } = await client.query<Position & { number: number }>(ownersSql, keyColumns(candidates), {
    name: 'process_attempt_owners',
  });
  const owners = new Map(
    rows.map(({ number, ...owner }) => [candidates[number - 1]?.key, formatPosition(owner)]),
  );
  const repeats = attempts.filter(
    ({ judged: one, key }) => owners.get(key) !== formatPosition(one.subject.position),
  );
  return new Set(repeats.map((repeat) => repeat.judged));
}

const insertSql = `
  INSERT INTO repair_attempts (tenant_id, epoch, partition, record_offset, attempt, attempt_epoch, attempt_partition, attempt_offset)
  SELECT * FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::bigint[])
  ON CONFLICT DO NOTHING`;

const ownersSql = `
  SELECT wanted.number::integer AS number, a.attempt_epoch AS epoch, a.attempt_partition AS partition, a.attempt_offset AS "offset"
  FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[]) WITH ORDINALITY
    AS wanted (tenant_id, epoch, partition, record_offset, attempt, number)
  JOIN repair_attempts a USING (tenant_id, epoch, partition, record_offset, attempt)`;

/**
 * Writes the verdicts of attempts and moves their dead letters: repaired, duplicate, or open again with what was found now.
 * Returns, for each attempt that is no dead letter any more, the bytes of the dead letter whose outcome moves.
 * `judged`: new records only, without repeats. Must run in the transaction that counts them.
 */
export async function settleAttempts(
  client: Queryable,
  judged: Iterable<Judged>,
  verdictOf: (judged: Judged) => Verdict,
): Promise<ReadonlyMap<Judged, number>> {
  const attempts = attemptsOf(judged);
  if (attempts.length === 0) return new Map();
  const verdicts = attempts.map((attempt) => verdictOf(attempt.judged));
  const failed = attempts.map(({ judged: one }) => (one.kind === 'dead_letter' ? one : null));
  const values = [
    ...keyColumns(attempts),
    verdicts,
    failed.map((one) => one?.deadLetter.code ?? null),
    failed.map((one) => (one === null ? null : JSON.stringify(one.deadLetter.failures))),
    failed.map((one) => (one === null ? null : fingerprintOfLetter(one))),
  ];
  await client.query(verdictSql, values.slice(0, 8), { name: 'process_attempt_verdicts' });
  // Their ids too, although the positions would do: without statistics the planner would scan the tenant's rows once for each.
  const ids = attempts.map(({ judged: one, origin }) =>
    uuidv5('dead-letter', one.subject.tenantId, formatPosition(origin), 'process'),
  );
  const { rows } = await client.query<{ number: number; bytes: number }>(letterSql, [...values, ids], {
    name: 'process_attempt_letters',
  });
  const bytes = new Map(rows.map((row) => [row.number - 1, row.bytes]));
  const left = new Map<Judged, number>();
  for (const [index, { judged: one }] of attempts.entries()) {
    if (verdicts[index] !== 'dead_letter') left.set(one, bytes.get(index) ?? one.subject.record.value.length);
  }
  return left;
}

function fingerprintOfLetter(one: Extract<Judged, { kind: 'dead_letter' }>): string {
  const { code, failures } = one.deadLetter;
  return fingerprintOf({ code, stage: 'process', eventType: one.eventType, failures });
}

const verdictSql = `
  UPDATE repair_attempts a SET outcome = v.outcome, code = v.code, failures = v.failures::jsonb
  FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::text[])
    AS v (tenant_id, epoch, partition, record_offset, attempt, outcome, code, failures)
  WHERE a.tenant_id = v.tenant_id AND a.epoch = v.epoch AND a.partition = v.partition
    AND a.record_offset = v.record_offset AND a.attempt = v.attempt`;

// A dead letter that is open is moved too: its database may be older than the log that already holds the attempt.
const letterSql = `
  UPDATE dead_letters d SET
    state = CASE v.outcome WHEN 'valid' THEN 'repaired' WHEN 'duplicate' THEN 'duplicate' ELSE 'open' END,
    attempts = v.attempt, code = coalesce(v.code, d.code), failures = coalesce(v.failures::jsonb, d.failures),
    fingerprint = coalesce(v.fingerprint, d.fingerprint)
  FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::text[])
    WITH ORDINALITY AS v (tenant_id, epoch, partition, record_offset, attempt, outcome, code, failures, fingerprint, number)
  WHERE d.dead_letter_id = ANY ($10::uuid[]) AND d.tenant_id = v.tenant_id AND d.epoch = v.epoch AND d.partition = v.partition
    AND d.record_offset = v.record_offset AND d.stage = 'process'
    AND d.state IN ('open', 'reprocessing') AND d.attempts <= v.attempt
  RETURNING v.number::integer AS number, octet_length(d.payload) AS bytes`;

function keyColumns(attempts: readonly Attempt[]): unknown[] {
  return [
    attempts.map(({ judged }) => judged.subject.tenantId),
    attempts.map(({ origin }) => origin.epoch),
    attempts.map(({ origin }) => origin.partition),
    attempts.map(({ origin }) => origin.offset),
    attempts.map(({ judged }) => judged.subject.attempt),
  ];
}

function positionColumns(attempts: readonly Attempt[]): unknown[] {
  return [
    attempts.map(({ judged }) => judged.subject.position.epoch),
    attempts.map(({ judged }) => judged.subject.position.partition),
    attempts.map(({ judged }) => judged.subject.position.offset),
  ];
}

/** The headers of a further attempt that name it. */
export function attemptHeaders(origin: Position, attempt: number): Record<string, string> {
  return { [header.attempt]: String(attempt), [header.origin]: formatPosition(origin) };
}
