// Settings of tenancy.
import { integer, text } from '../core/settings.ts';

// A shared topic must not look like a dedicated one (`<tenant>.events.raw`), or a tenant could be given its name.
const sharedTopic = {
  pattern: /^(?!.+\.events\.(?:raw|valid|dlq)$)[a-zA-Z0-9._-]{1,200}$/,
  allowed: '1 to 200 of a-z A-Z 0-9 . _ -, and not ending in .events.raw, .events.valid or .events.dlq',
};

export const tenancySettings = {
  PULSE_TENANCY_TOPIC_RAW: text({
    help: 'Topic of accepted events of all tenants without topics of their own.',
    defaultValue: 'events.raw',
    ...sharedTopic,
  }),
  PULSE_TENANCY_TOPIC_VALID: text({
    help: 'Topic of clean events of all tenants without topics of their own.',
    defaultValue: 'events.valid',
    ...sharedTopic,
  }),
  PULSE_TENANCY_TOPIC_DLQ: text({
    help: 'Topic of dead letters of all tenants without topics of their own.',
    defaultValue: 'events.dlq',
    ...sharedTopic,
  }),
  PULSE_TENANCY_REFRESH_MS: integer({
    help: 'How often each process reads changed tenants and keys. A revoked key works at most this long and one query.',
    unit: 'ms',
    defaultValue: 1_000,
    min: 50,
    max: 4_000,
  }),
  PULSE_TENANCY_STALE_MS_MAX: integer({
    help: 'How long known keys are served while Postgres cannot be read; after it every request is refused.',
    unit: 'ms',
    defaultValue: 600_000,
    min: 10_000,
    max: 3_600_000,
  }),
  PULSE_TENANCY_KEYS_MAX: integer({
    help: 'Live keys that one tenant may have.',
    unit: 'keys',
    defaultValue: 100,
    min: 1,
    max: 10_000,
  }),
} as const;
