// Settings of the event log: those of every engine first, then those of the embedded one.
import { integer, type SettingValues } from '../../core/settings.ts';

const mebibyte = 1_048_576;

/** How the event log behaves. */
export const eventLogSettings = {
  PULSE_LOG_EVENT_PARTITIONS: integer({
    help: 'Partitions of the shared topics events.raw and events.valid, when they are made.',
    unit: 'partitions',
    defaultValue: 6,
    min: 1,
    max: 256,
  }),
  PULSE_LOG_DEAD_LETTER_PARTITIONS: integer({
    help: 'Partitions of the shared topic events.dlq, when it is made.',
    unit: 'partitions',
    defaultValue: 3,
    min: 1,
    max: 256,
  }),
  PULSE_LOG_RETENTION_MS: integer({
    help: 'Records older than this, counted from their append, are removed once every consumer group has read them; 0 keeps them.',
    unit: 'ms',
    defaultValue: 7 * 86_400_000,
    min: 0,
    max: 3650 * 86_400_000,
  }),
  PULSE_LOG_RETENTION_BYTES: integer({
    help: 'The oldest records of a topic are removed beyond this size once every consumer group has read them; 0 sets no limit.',
    unit: 'bytes',
    defaultValue: 0,
    min: 0,
    max: 2 ** 50,
  }),
  PULSE_LOG_RETENTION_CHECK_MS: integer({
    help: 'How often the embedded log looks for segments that retention may remove.',
    unit: 'ms',
    defaultValue: 30_000,
    min: 100,
    max: 3_600_000,
  }),
  PULSE_LOG_PENDING_BYTES_MAX: integer({
    help: 'Bytes that may wait for the disk per topic; beyond it appends are refused with PULSE_LOG_OVERLOADED.',
    unit: 'bytes',
    defaultValue: 64 * mebibyte,
    min: 4096,
    max: 1024 * mebibyte,
  }),
  PULSE_LOG_GROUP_BYTES_MAX: integer({
    help: 'Largest group commit; one append call that alone is larger still makes one group.',
    unit: 'bytes',
    defaultValue: 8 * mebibyte,
    min: 1024,
    max: 256 * mebibyte,
  }),
  PULSE_LOG_SEGMENT_BYTES_MIN: integer({
    help: 'Size of the first segment file of a topic; each next one is twice as large.',
    unit: 'bytes',
    defaultValue: 4 * mebibyte,
    min: 16_384,
    max: 1024 * mebibyte,
  }),
  PULSE_LOG_SEGMENT_BYTES_MAX: integer({
    help: 'Size at which segment files stop growing.',
    unit: 'bytes',
    defaultValue: 64 * mebibyte,
    min: 16_384,
    max: 1024 * mebibyte,
  }),
  PULSE_LOG_PREPARE_BYTES_PER_SECOND: integer({
    help: 'How fast the next segment is filled with zeros in the background; slow filling keeps the disk free for appends.',
    unit: 'bytes',
    defaultValue: 64 * mebibyte,
    min: 65_536,
    max: 2 ** 40,
  }),
  PULSE_LOG_FOLLOW_MS_MAX: integer({
    help: 'Longest pause between two looks of a waiting reader at a topic that another process writes.',
    unit: 'ms',
    defaultValue: 25,
    min: 1,
    max: 10_000,
  }),
  PULSE_LOG_COMMIT_SYNC_MS: integer({
    help: 'Committed offsets are forced to disk at most this often; a process crash loses none, a power loss the last of them.',
    unit: 'ms',
    defaultValue: 200,
    min: 0,
    max: 60_000,
  }),
};

/** The typed values of `eventLogSettings`. */
export type EventLogSettings = SettingValues<typeof eventLogSettings>;
