// Small numbers that stand for (topic, incarnation) in positions.
import type { Queryable } from './types.ts';

/**
 * The epoch of a topic as it now is; the first call for an incarnation makes it.
 * Guarantees: one number for one (topic, incarnation), from every process and for ever; numbers are >= 1 and never used again.
 */
export async function epochOf(
  database: Pick<Queryable, 'query'>,
  topic: { readonly topic: string; readonly incarnation: string },
): Promise<number> {
  const values = [topic.topic, topic.incarnation];
  const find = () =>
    database.query<{ epoch: number }>(
      'SELECT epoch FROM log_epochs WHERE topic = $1 AND incarnation = $2',
      values,
    );
  // Looked up first: an insert that conflicts would use up a number each time.
  let found = (await find()).rows[0];
  if (found === undefined) {
    await database.query(
      'INSERT INTO log_epochs (topic, incarnation) VALUES ($1, $2) ON CONFLICT DO NOTHING',
      values,
    );
    found = (await find()).rows[0];
  }
  if (found === undefined) throw new Error(`log_epochs lost ${topic.topic} ${topic.incarnation}`);
  return found.epoch;
}
