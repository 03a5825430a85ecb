// Structured logs: one JSON object a line on standard error, secrets replaced.
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** Names whose values never reach a log line, on top of it or up to two objects deep. */
const secretNames = [
  'authorization',
  'cookie',
  'x-api-key',
  'api_key',
  'apiKey',
  'token',
  'adminToken',
  'password',
  'ownerPassword',
  'databaseUrl',
  'ownerUrl',
  'appUrl',
  'connectionString',
  'PULSE_ADMIN_TOKEN',
  'PULSE_DATABASE_URL',
  'PULSE_DATABASE_APP_URL',
];

const secretPaths = secretNames.flatMap((name) => {
  const step = name.includes('-') ? `["${name}"]` : `.${name}`;
  return [step.replace(/^\./, ''), `*${step}`, `*.*${step}`];
});

/**
 * A logger for one process.
 * Levels: error = someone must act; warn = Pulse helps itself, look when it repeats; info = changes of state; debug = each batch.
 */
export function createLogger(options: {
  level: string;
  process: string;
  destination?: DestinationStream;
}): Logger {
  return pino(
    {
      level: options.level,
      base: { process: options.process, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths, censor: '[redacted]' },
    },
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  );
}
