// Settings of the composition root, and the table of every setting of Pulse.
import { failpointsPattern } from '../core/failpoint.ts';
import { choice, integer, text } from '../core/settings.ts';

const roles = ['api', 'collect', 'process', 'store'] as const;
export type Role = (typeof roles)[number];

export const serverSettings = {
  PULSE_PORT: integer({
    help: 'TCP port of the front: collect, API, docs.',
    unit: 'port',
    defaultValue: 8080,
    min: 1,
    max: 65535,
  }),
  PULSE_HOST: text({
    help: 'Address that the front listens on. Anything but loopback needs a TLS terminator before it.',
    defaultValue: '127.0.0.1',
  }),
  PULSE_DATA_DIR: text({
    help: 'Folder of everything that Pulse keeps on disk: log, embedded Postgres, admin token.',
    defaultValue: './data',
  }),
  PULSE_ROLES: text({
    help: 'Which parts run in this start, separated by commas.',
    defaultValue: 'all',
    pattern: new RegExp(`^(all|(${roles.join('|')})(,(${roles.join('|')}))*)$`),
    allowed: `all, or a list of ${roles.join(', ')}`,
  }),
  PULSE_ADMIN_TOKEN: text({
    help: 'Token of the platform administrator; made at first start and kept in <data dir>/admin-token when unset.',
    defaultValue: '',
    secret: true,
    pattern: /^[\x21-\x7e]{16,512}$/,
    allowed: '16 to 512 visible ASCII characters',
  }),
  PULSE_HEALTH_PORT: integer({
    help: "Port of the worker's own /healthz, /readyz and /metrics on PULSE_HOST; 0 picks a free one on loopback.",
    unit: 'port',
    defaultValue: 0,
    min: 0,
    max: 65535,
  }),
  PULSE_LOG_LEVEL: choice({
    help: 'Least severe log lines that are written.',
    defaultValue: 'info',
    values: ['error', 'warn', 'info', 'debug', 'trace', 'silent'],
  }),
  PULSE_STOP_TIMEOUT_MS: integer({
    help: 'Longest time that a graceful stop may take before what is left is ended.',
    unit: 'ms',
    defaultValue: 30_000,
    min: 1_000,
    max: 600_000,
  }),
  PULSE_TEST_FAILPOINT: text({
    help: 'For tests of crashes alone: places where a process of Pulse is to kill itself. Never set it where events matter.',
    defaultValue: '',
    pattern: failpointsPattern,
    allowed: 'a list of <part>/<name>:<hit>:kill|throw; the names stand in src/core/failpoint.ts',
  }),
} as const;

/** The roles that PULSE_ROLES asks for. */
export function wantedRoles(value: string): ReadonlySet<Role> {
  return new Set(value === 'all' ? roles : (value.split(',') as Role[]));
}

/**
 * Node options of the front. A request under way keeps about 14 kB alive, so with hundreds of connections a small young
 * generation copies the same megabytes again and again: 64 MiB take the collector's share from 14 % to 3 % of the
 * processor, for at most 192 MiB of memory.
 */
export const frontNodeOptions: readonly string[] = ['--min-semi-space-size=64', '--max-semi-space-size=64'];
