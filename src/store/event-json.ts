// Stored events as JSON text. Data and enrichment are spliced in as Postgres printed them: JSON.parse would round
// numbers beyond 2^53.
import { formatPosition, formatReceiptId } from '../core/position.ts';
import type { StoredEvent } from './search.ts';

/** One event as the API shows it. */
export function eventJson(event: StoredEvent): string {
  const { position, enrichmentText, dataText, tenant_id: tenantId, ...rest } = event;
  const head = JSON.stringify({
    ...rest,
    tenant_id: tenantId,
    receipt_id: formatReceiptId({ tenantId, ...position }),
    position: formatPosition(position),
  });
  return `${head.slice(0, -1)},"enrichment":${enrichmentText},"data":${dataText}}`;
}

/** A page of events as the API shows it. */
export function pageJson(events: readonly StoredEvent[], nextCursor: string | null): string {
  return `{"events":[${events.map(eventJson).join(',')}],"next_cursor":${JSON.stringify(nextCursor)}}`;
}
