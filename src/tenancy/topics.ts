// Which topics a tenant's events live in: the shared ones, or its own.
import type { SettingValues } from '../core/settings.ts';
import type { tenancySettings } from './config.ts';
import type { Tenant, TopicNames } from './types.ts';

/** The shared topics that the settings name. */
export function sharedTopicNames(
  settings: Pick<
    SettingValues<typeof tenancySettings>,
    'PULSE_TENANCY_TOPIC_RAW' | 'PULSE_TENANCY_TOPIC_VALID' | 'PULSE_TENANCY_TOPIC_DLQ'
  >,
): TopicNames {
  return {
    raw: settings.PULSE_TENANCY_TOPIC_RAW,
    valid: settings.PULSE_TENANCY_TOPIC_VALID,
    dlq: settings.PULSE_TENANCY_TOPIC_DLQ,
  };
}

/** The topics of a tenant: `shared`, or `<tenant>.events.raw|valid|dlq` for a dedicated one. */
export function topicNames(tenant: Pick<Tenant, 'tenantId' | 'topics'>, shared: TopicNames): TopicNames {
  if (tenant.topics === 'shared') return shared;
  const prefix = `${tenant.tenantId}.events`;
  return { raw: `${prefix}.raw`, valid: `${prefix}.valid`, dlq: `${prefix}.dlq` };
}
