// Metrics of the event log. Hot paths count in plain numbers; Prometheus reads them when it asks.
import { Counter, Gauge, Histogram } from 'prom-client';
import { registry } from '../../../telemetry/registry.ts';

/** Plain counts of this process, since it started. */
export const logCounts = {
  appendedRecords: 0,
  appendedBytes: 0,
  groups: 0,
  pendingBytes: 0,
  readRecords: 0,
  overloaded: 0,
  diskFull: 0,
  syncFailures: 0,
  tornTails: 0,
  corruptPlaces: 0,
  removedSegments: 0,
  commits: 0,
  fenced: 0,
};

function counter(name: string, help: string, key: keyof typeof logCounts): Counter {
  return new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(logCounts[key]);
    },
  });
}

/** The event log's metrics, listed in docs/reference/metrics.md. */
export const logMetrics = {
  appendedRecords: counter('pulse_log_appended_records_total', 'Records made durable.', 'appendedRecords'),
  appendedBytes: counter(
    'pulse_log_appended_bytes_total',
    'Bytes made durable, framing included.',
    'appendedBytes',
  ),
  groups: counter(
    'pulse_log_group_commits_total',
    'Group commits; records divided by these is the group size.',
    'groups',
  ),
  readRecords: counter('pulse_log_read_records_total', 'Records handed to readers.', 'readRecords'),
  overloaded: counter(
    'pulse_log_overloaded_total',
    'Appends refused because too many bytes were waiting.',
    'overloaded',
  ),
  diskFull: counter(
    'pulse_log_disk_full_total',
    'Group commits that failed because no space was left.',
    'diskFull',
  ),
  syncFailures: counter(
    'pulse_log_failures_total',
    'Group commits that failed for another reason, such as a failed fdatasync.',
    'syncFailures',
  ),
  tornTails: counter(
    'pulse_log_torn_tails_total',
    'Unfinished last groups that were cut off when a topic was opened.',
    'tornTails',
  ),
  corruptPlaces: counter(
    'pulse_log_corrupt_total',
    'Damaged places met; each stops its topic.',
    'corruptPlaces',
  ),
  removedSegments: counter(
    'pulse_log_removed_segments_total',
    'Segments removed by retention.',
    'removedSegments',
  ),
  commits: counter('pulse_log_offset_commits_total', 'Writes of committed offsets.', 'commits'),
  fenced: counter(
    'pulse_log_fenced_total',
    'Polls and commits refused because another owner took the group over.',
    'fenced',
  ),
  pendingBytes: new Gauge({
    name: 'pulse_log_pending_bytes',
    help: 'Bytes that wait for the disk.',
    registers: [registry],
    collect() {
      this.set(logCounts.pendingBytes);
    },
  }),
  groupCommitSeconds: new Histogram({
    name: 'pulse_log_group_commit_seconds',
    help: 'Time from the write of a group to its durability.',
    buckets: [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2],
    registers: [registry],
  }),
};
