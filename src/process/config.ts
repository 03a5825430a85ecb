// Settings of the process room: the loop, the ledger and the dead letters.
import { integer, type SettingValues } from '../core/settings.ts';

const dayMs = 86_400_000;

export const processSettings = {
  PULSE_PROCESS_LANES: integer({
    help: 'Loops of `process` that run side by side, each on its own raw partitions and its own database connection.',
    unit: 'loops',
    defaultValue: 2,
    min: 1,
    max: 16,
  }),
  PULSE_PROCESS_BATCH_RECORDS: integer({
    help: 'Most records that one loop judges and claims at once.',
    unit: 'records',
    defaultValue: 1_000,
    min: 1,
    max: 10_000,
  }),
  PULSE_PROCESS_BATCH_BYTES: integer({
    help: 'Most bytes of events that one loop takes at once; a single larger event still passes.',
    unit: 'bytes',
    defaultValue: 4 * 1_048_576,
    min: 1_024,
    max: 64 * 1_048_576,
  }),
  PULSE_PROCESS_LEDGER_RETENTION_MS: integer({
    help: 'How long an event id is remembered; the same id sent again later is a new event.',
    unit: 'ms',
    defaultValue: 7 * dayMs,
    min: 60_000,
    max: 3650 * dayMs,
  }),
  PULSE_PROCESS_LEDGER_ROWS_MAX: integer({
    help: 'Most event ids that are remembered (about 200 bytes each); beyond it the oldest are forgotten first.',
    unit: 'rows',
    defaultValue: 100_000_000,
    min: 1_000,
    max: 100_000_000_000,
  }),
  PULSE_PROCESS_DEAD_LETTER_RETENTION_MS: integer({
    help: 'How long dead letters are kept.',
    unit: 'ms',
    defaultValue: 30 * dayMs,
    min: 60_000,
    max: 3650 * dayMs,
  }),
  PULSE_PROCESS_REPAIR_ATTEMPTS: integer({
    help: 'Most attempts of one event, the first one included; a dead letter that has had them can only be discarded.',
    unit: 'attempts',
    defaultValue: 5,
    min: 2,
    max: 1_000,
  }),
  PULSE_PROCESS_REPAIR_ITEMS: integer({
    help: 'Most dead letters of one repair job; when more match, the oldest are taken and the job says so.',
    unit: 'items',
    defaultValue: 100_000,
    min: 1,
    max: 1_000_000,
  }),
  PULSE_PROCESS_REPAIR_JOBS: integer({
    help: 'Most unfinished repair jobs of one tenant.',
    unit: 'jobs',
    defaultValue: 20,
    min: 1,
    max: 1_000,
  }),
  PULSE_PROCESS_EXPIRY_INTERVAL_MS: integer({
    help: 'Pause between two rounds that remove what the ledger and the dead letters need no longer.',
    unit: 'ms',
    defaultValue: 60_000,
    min: 1_000,
    max: 86_400_000,
  }),
} as const;

export type ProcessSettings = SettingValues<typeof processSettings>;
