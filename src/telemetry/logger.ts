// Structured logs: one JSON object a line on standard error, secrets replaced.
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** Paths whose values never reach a log line. */
const secretPaths = [
  'authorization',
  'cookie',
  'api_key',
  'apiKey',
  'token',
  'password',
  'headers.authorization',
  'headers.cookie',
  'headers["x-api-key"]',
  'req.headers.authorization',
  'req.headers.cookie',
  'req.headers["x-api-key"]',
];

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
