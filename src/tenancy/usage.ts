// Usage: what each tenant sent and keeps, by day. Read from the exact counts of the stages.
import { formatTime } from '../core/time.ts';
import type { Database } from '../database/types.ts';
import type { TimeRange } from './query-input.ts';

/** Usage of one tenant on one day (UTC) by the time of receipt. */
export interface UsageRow {
  readonly tenantId: string;
  /** `YYYY-MM-DD`. */
  readonly day: string;
  /** Accepted events; repeats and events that became dead letters count too. */
  readonly events: number;
  /** Bytes of the accepted events. */
  readonly bytes: number;
  /** Rows stored. */
  readonly storedRows: number;
}

/** Where a page of usage starts: after this tenant's day. */
export interface UsageCursor {
  readonly tenantId: string;
  readonly day: string;
}

/**
 * Usage of the given tenants, by tenant and day; days without any are left out.
 * Units and ranges: whole minutes, from the one that holds `from` to the one that holds `to`, both included.
 * Cost: reads one row for each tenant, minute, stage and partition of the range.
 */
export async function readUsage(
  database: Database,
  tenantIds: readonly string[],
  range: TimeRange,
  page: { readonly after: UsageCursor | null; readonly limit: number },
): Promise<readonly UsageRow[]> {
  const { after } = page;
  const wanted = tenantIds.filter((tenantId) => after === null || tenantId >= after.tenantId);
  return await database.withTenants(wanted, async (client) => {
    const { rows } = await client.query<{
      tenant_id: string;
      day: string;
      events: number;
      bytes: number;
      stored_rows: number;
    }>(
      `SELECT tenant_id, to_char(received_minute AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
              coalesce(sum(events) FILTER (WHERE stage = 'process'), 0)::bigint AS events,
              coalesce(sum(bytes) FILTER (WHERE stage = 'process'), 0)::bigint AS bytes,
              coalesce(sum(events) FILTER (WHERE stage = 'store'), 0)::bigint AS stored_rows
       FROM stage_counts
       WHERE tenant_id = ANY ($1::text[])
         AND received_minute >= date_trunc('minute', $2::timestamptz, 'UTC')
         AND received_minute < $3::timestamptz
         AND (stage, outcome) IN (('process', 'accepted'), ('store', 'stored'))
         AND ($4::text IS NULL OR tenant_id > $4 OR received_minute >= ($5::date + 1)::timestamp AT TIME ZONE 'UTC')
       GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $6`,
      [
        wanted,
        formatTime(range.fromMs),
        formatTime(range.toMs),
        after?.tenantId ?? null,
        after?.day ?? null,
        page.limit,
      ],
    );
    return rows.map((row) => ({
      tenantId: row.tenant_id,
      day: row.day,
      events: row.events,
      bytes: row.bytes,
      storedRows: row.stored_rows,
    }));
  });
}
