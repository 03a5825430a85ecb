// Settings of the store room.
import { integer } from '../core/settings.ts';

/** How the store writes, keeps and answers. */
export const storeSettings = {
  PULSE_STORE_LANES: integer({
    help: 'Batches that are written to Postgres at the same time, each over its own connection.',
    unit: 'batches',
    defaultValue: 2,
    min: 1,
    max: 16,
  }),
  PULSE_STORE_BATCH_EVENTS: integer({
    help: 'Most events that one transaction stores.',
    unit: 'events',
    defaultValue: 1_500,
    min: 1,
    max: 10_000,
  }),
  PULSE_STORE_BATCH_BYTES: integer({
    help: 'Bytes after which a batch is full; one event alone may be larger.',
    unit: 'bytes',
    defaultValue: 4_194_304,
    min: 65_536,
    max: 67_108_864,
  }),
  PULSE_STORE_RETENTION_DAYS: integer({
    help: 'Whole UTC days that events and their counts stay in Postgres, by time of receipt; today comes on top.',
    unit: 'days',
    defaultValue: 30,
    min: 1,
    max: 3_650,
  }),
  PULSE_STORE_QUERY_TIMEOUT_MS: integer({
    help: 'How long one search may run in Postgres.',
    unit: 'ms',
    defaultValue: 10_000,
    min: 100,
    max: 300_000,
  }),
  PULSE_STORE_STREAM_CLIENTS: integer({
    help: 'Most clients of the live tail in one process.',
    unit: 'clients',
    defaultValue: 100,
    min: 1,
    max: 10_000,
  }),
  PULSE_STORE_STREAM_BUFFER_BYTES: integer({
    help: 'Bytes that may wait for a slow client of the live tail; beyond them its events are dropped and counted.',
    unit: 'bytes',
    defaultValue: 4_194_304,
    min: 1_048_576,
    max: 67_108_864,
  }),
} as const;
