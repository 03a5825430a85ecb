// One batch in one transaction: rows, positions by compare-and-set, counts. All of it takes effect, or nothing does.
import { failpoint } from '../core/failpoint.ts';
import { addStageCounts } from '../database/counts.ts';
import { advancePosition } from '../database/positions.ts';
import type { Database, Queryable } from '../database/types.ts';
import type { Row, Step } from './batch.ts';
import { addEventCounts, countEvents, countStage } from './counts.ts';
import { dataErrorCode, insertAll, insertCarefully, type Refused } from './insert.ts';
import { stage } from './stage.ts';

/** What one transaction makes true. */
export interface Work {
  readonly rows: readonly Row[];
  readonly steps: readonly Step[];
}

/** What became of the rows. */
export interface Written {
  readonly stored: number;
  readonly parked: readonly Refused[];
  /** Rows that the primary key kept from being stored twice. */
  readonly conflicts: readonly Row[];
}

/**
 * Stores a batch, bound to its tenants.
 * Guarantees: rows, counts and positions commit together. A row that Postgres cannot hold is parked in `store_parked`
 * and its neighbours are stored.
 * Errors: those of Database, PULSE_DATABASE_POSITION_FENCED; after PULSE_DATABASE_COMMIT_UNKNOWN the caller reads the
 * positions again.
 * Cost: four round trips; a batch with a refused row is written a second time, by halves.
 */
export async function writeBatch(database: Database, work: Work): Promise<Written> {
  const tenantIds = [...new Set(work.rows.map((row) => row.tenantId))];
  try {
    await database.withTenants(tenantIds, (client) => writeAll(client, work));
    return { stored: work.rows.length, parked: [], conflicts: [] };
  } catch (error) {
    if (dataErrorCode(error) === null) throw error;
  }
  return await database.withTenants(tenantIds, (client) => writeCarefully(client, work));
}

/**
 * Every statement is sent at once; a failing one aborts the transaction, so none behind it takes effect. Positions go
 * first: a lane that lost a partition then hears of that, and not of the rows that the new owner has stored.
 */
async function writeAll(client: Queryable, work: Work): Promise<void> {
  failpoint('store.before_insert');
  await Promise.all([
    ...movePositions(client, work.steps),
    insertAll(client, work.rows),
    addStageCounts(client, countStage(work.rows, 'stored')),
    addEventCounts(client, countEvents(work.rows)),
  ]);
  failpoint('store.inserted');
}

async function writeCarefully(client: Queryable, work: Work): Promise<Written> {
  await Promise.all(movePositions(client, work.steps));
  const { stored, refused, conflicts } = await insertCarefully(client, work.rows);
  const parked = refused.map((entry) => entry.row);
  for (const entry of refused) await park(client, entry);
  await Promise.all([
    addStageCounts(client, [...countStage(stored, 'stored'), ...countStage(parked, 'parked')]),
    addEventCounts(client, countEvents(stored)),
  ]);
  return { stored: stored.length, parked: refused, conflicts };
}

function movePositions(client: Queryable, steps: readonly Step[]): Promise<void>[] {
  return steps.flatMap((step) =>
    step.moves.map((move) => advancePosition(client, { stage, partition: step.partition, ...move })),
  );
}

async function park(client: Queryable, { row, code, detail }: Refused): Promise<void> {
  const { source } = row;
  await client.query(
    `INSERT INTO store_parked
       (tenant_id, epoch, partition, record_offset, event_id, event_type, received_at, topic, code, detail, value)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
    [
      row.tenantId,
      source.epoch,
      source.partition,
      source.offset,
      row.eventId,
      row.eventType,
      row.receivedAt,
      row.topic,
      code,
      detail,
      row.value,
    ],
  );
}
