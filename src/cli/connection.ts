// Where the running Pulse is and who is calling, from options, environment and data directory.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings, type SettingsTable, type SettingValues } from '../core/settings.ts';
import { serverSettings } from '../server/config.ts';
import { cliSettings } from './config.ts';
import { usageError } from './errors.ts';

/** The environment of a command. */
export type Environment = Readonly<Record<string, string | undefined>>;

const { PULSE_PORT, PULSE_HOST, PULSE_DATA_DIR, PULSE_ADMIN_TOKEN } = serverSettings;
const connectionSettings = { PULSE_PORT, PULSE_HOST, PULSE_DATA_DIR, PULSE_ADMIN_TOKEN, ...cliSettings };

/** Reads only the named settings, so that a mistake in another one does not keep a command from asking. */
export function readOwnSettings<const Table extends SettingsTable>(
  table: Table,
  environment: Environment,
): SettingValues<Table> {
  const own = Object.fromEntries(
    Object.entries(environment).filter(([name]) => table[name.replace(/_FILE$/, '')] !== undefined),
  );
  return readSettings(table, own);
}

/** The address that `--url` or the settings name, without a path. Errors: PULSE_CLI_USAGE. */
export function originOf(url: string | undefined, environment: Environment): string {
  if (url !== undefined) {
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
      throw usageError(`--url='${url}' is no http:// or https:// address.`);
    }
    return new URL(url).origin;
  }
  const settings = readOwnSettings(connectionSettings, environment);
  const anyAddress = settings.PULSE_HOST === '0.0.0.0' || settings.PULSE_HOST === '::';
  const host = anyAddress ? '127.0.0.1' : settings.PULSE_HOST;
  return `http://${host.includes(':') ? `[${host}]` : host}:${settings.PULSE_PORT}`;
}

/** The data directory that the settings name. */
export function dataDirectoryOf(environment: Environment): string {
  return readOwnSettings(connectionSettings, environment).PULSE_DATA_DIR;
}

/**
 * The credential of a call: `--key`, else PULSE_API_KEY, else the administrator's token from the settings or the data
 * directory; null when there is none.
 * Guarantees: the administrator's token, which nobody typed, goes to this machine or the configured address alone.
 */
export function credentialOf(
  key: string | undefined,
  origin: string,
  environment: Environment,
): string | null {
  if (key !== undefined) return key;
  const settings = readOwnSettings(connectionSettings, environment);
  if (settings.PULSE_API_KEY !== '') return settings.PULSE_API_KEY;
  const isOurs = isLoopback(origin) || origin === originOf(undefined, environment);
  return isOurs ? adminTokenOf(environment) : null;
}

/** True when the address of this origin is the machine itself. Names other than localhost are not looked up. */
export function isLoopback(origin: string): boolean {
  const { hostname } = new URL(origin);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** The administrator's token, or null. */
export function adminTokenOf(environment: Environment): string | null {
  const settings = readOwnSettings(connectionSettings, environment);
  if (settings.PULSE_ADMIN_TOKEN !== '') return settings.PULSE_ADMIN_TOKEN;
  try {
    return readFileSync(join(settings.PULSE_DATA_DIR, 'admin-token'), 'utf8').trim() || null;
  } catch (error) {
    // Absent or not ours to read: the caller may not be on the machine that runs Pulse.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return null;
    throw error;
  }
}
