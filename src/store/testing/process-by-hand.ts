// What collect and process would have done to an event, done by hand, so that receipts and counts can be tested alone.
import { header } from '../../core/envelope.ts';
import { formatReceiptId } from '../../core/position.ts';
import { addStageCounts } from '../../database/counts.ts';
import { type Harness, startMs, topics } from './harness.ts';

const receivedAt = new Date(startMs).toISOString();

/** Appends raw records, one for each id, to partition 0; returns their receipts. */
export async function accept(h: Harness, tenantId: string, ...eventIds: string[]): Promise<string[]> {
  const records = eventIds.map((id) => ({
    partition: 0,
    key: id,
    headers: {
      [header.id]: id,
      [header.type]: 'trip.finished',
      [header.tenant]: tenantId,
      [header.receivedAt]: receivedAt,
    },
    value: Buffer.from('{}'),
  }));
  const offsets = await h.log.append(topics.raw, records);
  return offsets.map((offset) => formatReceiptId({ tenantId, epoch: h.epoch, partition: 0, offset }));
}

/** Says that process has judged partition 0 up to this offset. */
export async function claimThrough(h: Harness, offset: number): Promise<void> {
  await h.database.query(
    `INSERT INTO stage_positions (stage, epoch, partition, source_offset, log_offset) VALUES ('process', $1, 0, $2::bigint, $2::bigint + 1)
     ON CONFLICT (stage, epoch, partition) DO UPDATE SET source_offset = excluded.source_offset, log_offset = excluded.log_offset`,
    [h.epoch, offset],
  );
}

/** Puts an id into the ledger. */
export async function claim(h: Harness, tenantId: string, eventId: string, offset: number): Promise<void> {
  await h.database.withTenant(tenantId, (client) =>
    client.query(
      `INSERT INTO processed_event_ids (tenant_id, event_id, event_source, epoch, partition, record_offset)
       VALUES ($1, $2, '', $3, 0, $4)`,
      [tenantId, eventId, h.epoch, offset],
    ),
  );
}

/** Puts a row into the table of dead letters. */
export async function bury(h: Harness, tenantId: string, eventId: string, offset: number): Promise<void> {
  await h.database.withTenant(tenantId, (client) =>
    client.query(
      `INSERT INTO dead_letters (tenant_id, dead_letter_id, epoch, partition, record_offset, stage, code, event_id,
         failures, payload, headers, fingerprint, attempts, received_at)
       VALUES ($1, gen_random_uuid(), $2, 0, $3, 'process', 'invalid_envelope', $4, '[]', '', '{}', '', 1, $5)`,
      [tenantId, h.epoch, offset, eventId, receivedAt],
    ),
  );
}

/** Adds to the counts of process. */
export async function countOutcomes(
  h: Harness,
  tenantId: string,
  outcomes: Readonly<Record<string, number>>,
  minuteMs = startMs,
): Promise<void> {
  await h.database.withTenant(tenantId, (client) =>
    addStageCounts(
      client,
      Object.entries(outcomes).map(([outcome, events]) => ({
        tenantId,
        receivedMinute: new Date(minuteMs).toISOString(),
        stage: 'process',
        outcome,
        topic: topics.raw,
        partition: 0,
        events,
        bytes: events * 100,
      })),
    ),
  );
}
