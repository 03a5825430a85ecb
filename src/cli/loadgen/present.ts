// How a load run looks on a terminal: one line a second, and the report at the end.
import { formatNumber, formatPairs } from '../output.ts';
import type { Progress } from './run.ts';
import type { LoadReport } from './tally.ts';

/** One line of progress. */
export function progressLine(progress: Progress): string {
  const { tally } = progress;
  const ms = (us: number): string => formatNumber(us / 1000, 1);
  return [
    `${(progress.elapsedMs / 1000).toFixed(0).padStart(4)} s`,
    `${formatNumber(tally.recent.count)} req/s`,
    `p50 ${ms(tally.recent.percentile(0.5))} ms`,
    `p99 ${ms(tally.recent.percentile(0.99))} ms`,
    `accepted ${formatNumber(tally.acceptedEvents)}`,
    ...(tally.rejectedRequests > 0 ? [`rejected ${formatNumber(tally.rejectedRequests)}`] : []),
    ...(tally.throttled > 0 ? [`throttled ${formatNumber(tally.throttled)}`] : []),
    ...(tally.connectionErrors > 0 ? [`connection errors ${formatNumber(tally.connectionErrors)}`] : []),
    ...(progress.lateRequests > 0 ? [`late ${formatNumber(progress.lateRequests)}`] : []),
    ...(progress.openConnections === 0 ? ['no connection'] : []),
  ].join('  ');
}

/** The report as lines. */
export function reportText(report: LoadReport): string {
  const { latency_ms: latency, sent } = report;
  const loop =
    report.mode === 'open' ? `open loop, ${formatNumber(report.target_rate ?? 0)} req/s` : 'closed loop';
  const counts = (values: Readonly<Record<string, number>>): string =>
    Object.entries(values)
      .map(([name, count]) => `${name} × ${formatNumber(count)}`)
      .join(', ') || 'none';
  return formatPairs([
    [
      'load',
      `${loop}, ${report.connections} connections, ${report.tenants} tenants, batch ${report.batch}, seed ${report.seed}`,
    ],
    ['time', `${formatNumber(report.elapsed_ms / 1000, 1)} s`],
    ['sent', `${formatNumber(sent.requests)} requests, ${formatNumber(sent.events)} events`],
    [
      '  on purpose',
      `${formatNumber(sent.duplicates)} duplicates, ${formatNumber(sent.dead_letters)} dead letters, ${formatNumber(sent.refusals)} refusals`,
    ],
    [
      'accepted',
      `${formatNumber(report.accepted.requests)} requests, ${formatNumber(report.accepted.events)} events`,
    ],
    [
      'rejected',
      `${formatNumber(report.rejected.requests)} requests (${formatNumber(report.rejected.expected)} on purpose), ${formatNumber(report.rejected.events)} events`,
    ],
    ['throttled', formatNumber(report.throttled)],
    ['unknown', `${formatNumber(report.unknown)} without an answer, ${formatNumber(report.unsent)} not sent`],
    ['errors', counts(report.by_connection_error)],
    ['statuses', counts(report.by_status)],
    ['codes', counts(report.by_code)],
    [
      'rate',
      `${formatNumber(report.requests_per_second)} req/s, ${formatNumber(report.events_per_second)} events/s`,
    ],
    [
      'latency ms',
      `p50 ${latency.p50}  p95 ${latency.p95}  p99 ${latency.p99}  p99.9 ${latency.p999}  max ${latency.max}`,
    ],
    ['generator', `${report.generator_cpu_us_per_request} µs CPU a request`],
  ]);
}
