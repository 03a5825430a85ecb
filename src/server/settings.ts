// Every setting of Pulse in one table; each room owns its part.
import { cliSettings } from '../cli/config.ts';
import { collectSettings } from '../collect/config.ts';
import { readSettings, type SettingValues } from '../core/settings.ts';
import { databaseSettings } from '../database/config.ts';
import { eventLogSettings } from '../ports/event-log/config.ts';
import { processSettings } from '../process/config.ts';
import { storeSettings } from '../store/config.ts';
import { tenancySettings } from '../tenancy/config.ts';
import { serverSettings } from './config.ts';

export const allSettings = {
  ...serverSettings,
  ...databaseSettings,
  ...eventLogSettings,
  ...tenancySettings,
  ...collectSettings,
  ...processSettings,
  ...storeSettings,
  ...cliSettings,
} as const;

export type AllSettings = SettingValues<typeof allSettings>;

/** Reads every setting from the environment; all mistakes come in one error. */
export function readAllSettings(environment: Readonly<Record<string, string | undefined>>): AllSettings {
  return readSettings(allSettings, environment);
}
