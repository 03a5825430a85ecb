// Entry of a child process. It waits for its configuration, starts its part, and stops when told to or orphaned.

import { PulseError } from '../core/errors.ts';
import { armFailpoints } from '../core/failpoint.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { holdAsPart } from './data-directory.ts';
import type { ChildConfiguration, FromChild, ToChild } from './messages.ts';
import type { Part } from './part.ts';

/** How long a part may drain after its supervisor died. */
const orphanTimeoutMs = 3_000;

let part: Part | null = null;
let stopping = false;
let logger: Logger = createLogger({ level: 'info', process: process.argv[2] ?? 'child' });

async function start(configuration: ChildConfiguration): Promise<void> {
  logger = createLogger({ level: configuration.settings.PULSE_LOG_LEVEL, process: configuration.part });
  try {
    holdAsPart(configuration.dataDirectory);
    armFailpoints(
      configuration.part,
      configuration.settings.PULSE_TEST_FAILPOINT,
      configuration.dataDirectory,
    );
    part =
      configuration.part === 'front'
        ? await (await import('./front.ts')).startFront(configuration, logger)
        : await (await import('./worker.ts')).startWorker(configuration, logger);
    tell({ type: 'ready', url: part.url });
  } catch (error) {
    const known = error instanceof PulseError ? error : null;
    logger.error({ err: error, code: known?.code }, 'the part did not start');
    tell({
      type: 'failed',
      code: known?.code ?? 'PULSE_SERVER_CHILD_FAILED',
      message: (error as Error).message,
      next: known?.next ?? 'Read the log lines above.',
    });
    process.exitCode = 1;
    process.disconnect?.();
  }
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  try {
    await part?.stop();
    tell({ type: 'stopped' });
    process.exit(0);
  } catch (error) {
    logger.error({ err: error }, 'the stop failed');
    process.exit(1);
  }
}

function tell(message: FromChild): void {
  if (process.connected) process.send?.(message);
}

process.on('message', (message: ToChild) => {
  if (message.type === 'start') void start(message.configuration);
  else if (message.type === 'worker') part?.setWorker(message.url);
  else void stop();
});
// The pipe breaks when the supervisor dies: finish what is in hand and go, never live on as an orphan.
process.on('disconnect', () => {
  // Postgres ends with the supervisor too, so a drain may never finish; what it leaves undone is done again at next start.
  setTimeout(() => process.exit(75), orphanTimeoutMs).unref();
  void stop();
});
process.on('SIGTERM', () => void stop());
process.on('SIGINT', () => void stop());
process.on('uncaughtException', (error) => {
  logger.fatal({ err: error }, 'uncaught exception; the supervisor starts this part again');
  process.exit(70);
});
