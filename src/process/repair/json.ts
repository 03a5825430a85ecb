// Jobs and their items as the API shows them.
import type { Failure } from '../../core/outcome.ts';
import { formatReceiptId } from '../../core/position.ts';
import { formatTime } from '../../core/time.ts';
import type { Job, Progress, Selection } from './jobs.ts';
import type { ItemResult } from './letters.ts';

/** One job with its progress. */
export function jobJson(job: Job, progress: Progress | undefined) {
  const { waiting = 0, sent = 0, results = {} } = progress ?? {};
  return {
    job_id: job.job_id,
    tenant_id: job.tenant_id,
    state: job.state,
    dry_run: job.dry_run,
    ...selectionJson(job.selection),
    patched: job.patch !== null,
    actor: job.actor,
    total: job.total,
    truncated: job.truncated,
    progress: { waiting, sent, done: Object.values(results).reduce((sum, count) => sum + count, 0) },
    results,
    error: job.error,
    created_at: job.created_at,
    started_at: job.started_at,
    finished_at: job.finished_at,
  };
}

function selectionJson(selection: Selection) {
  if ('ids' in selection) return { ids_count: selection.ids.length };
  const { fromMs, toMs, ...names } = selection.filter;
  const times = {
    from: fromMs === null ? null : formatTime(fromMs),
    to: toMs === null ? null : formatTime(toMs),
  };
  return {
    filter: Object.fromEntries(Object.entries({ ...names, ...times }).filter(([, value]) => value !== null)),
  };
}

/** An item as read. */
export interface ItemRecord {
  readonly item: number;
  readonly dead_letter_id: string;
  readonly state: string;
  readonly result: ItemResult | null;
  readonly detail: string | null;
  readonly failures: readonly Failure[] | null;
  readonly attempt: number | null;
  readonly epoch: number | null;
  readonly partition: number | null;
  readonly record_offset: number | null;
}

/** One item; `receipt_id` is that of the original, whose state follows the repair. */
export function itemJson(tenantId: string, item: ItemRecord) {
  const { epoch, partition, record_offset: offset } = item;
  const isPlaced = epoch !== null && partition !== null && offset !== null;
  return {
    item: item.item,
    dead_letter_id: item.dead_letter_id,
    state: item.state,
    result: item.result,
    detail: item.detail,
    errors: item.failures ?? [],
    attempt: item.attempt,
    receipt_id: isPlaced ? formatReceiptId({ tenantId, epoch, partition, offset }) : null,
  };
}
