// `pulse start`: the supervisor. It opens the data directory, brings Postgres up, migrates, starts the front and the worker,
// creates the demo tenant at first start, prints how to begin, and stops everything in order.

import { createServer } from 'node:net';
import { systemClock } from '../core/clock.ts';
import { armFailpoints, failpoint } from '../core/failpoint.ts';
import { connectPostgres } from '../database/connect.ts';
import { openDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { openDirectory } from '../tenancy/directory.ts';
import { SupervisedChild } from './child-process.ts';
import { frontNodeOptions, type Role, wantedRoles } from './config.ts';
import { type DataDirectory, keptSecret, openDataDirectory, waitForEarlierParts } from './data-directory.ts';
import { serverError } from './errors.ts';
import { prepareDemo, printWelcome } from './first-start.ts';
import type { ChildConfiguration } from './messages.ts';
import { type AllSettings, readAllSettings } from './settings.ts';

const frontRoles: readonly Role[] = ['api', 'collect'];
/** The worker and Postgres give way to the front: accepting comes first, sinks may lag and catch up. */
const workerNiceness = 10;

/** Longer than an orphaned part may live. */
const earlierPartsTimeoutMs = 10_000;

/** Starts Pulse and resolves once it has stopped again. Errors: PulseErrors of the configuration or of a part that failed. */
export async function start(environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const startedAt = performance.now();
  requireNode();
  const settings = readAllSettings(environment);
  const logger = createLogger({ level: settings.PULSE_LOG_LEVEL, process: 'supervisor' });
  const directory = openDataDirectory(settings.PULSE_DATA_DIR);
  const stops: (() => Promise<void> | void)[] = [() => directory.release()];
  const stopRequested = stopSignal(logger);
  try {
    armFailpoints('supervisor', settings.PULSE_TEST_FAILPOINT, directory.path);
    await waitForEarlierParts(directory, earlierPartsTimeoutMs);
    await requireFreePort(settings);
    const parts = await startParts(settings, directory, logger, stops);
    printWelcome({
      url: parts.frontUrl,
      directory,
      demoKey: parts.demoKey,
      seconds: (performance.now() - startedAt) / 1000,
    });
    await stopRequested;
    logger.info('stopping: requests under way are finished first');
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
  logger.info('stopped');
}

async function startParts(
  settings: AllSettings,
  directory: DataDirectory,
  logger: Logger,
  stops: (() => Promise<void> | void)[],
): Promise<{ frontUrl: string | null; demoKey: string | null }> {
  const adminToken = settings.PULSE_ADMIN_TOKEN || keptSecret(directory, 'admin-token', 'pat_');
  const postgres = await connectPostgres({ settings, dataDirectory: directory.path, logger });
  stops.push(() => postgres.stop());
  await migrate({ ownerUrl: postgres.ownerUrl, appUrl: postgres.appUrl, logger });
  failpoint('supervisor.migrated');
  const demoKey = await withDirectory(settings, postgres.appUrl, logger, (database, tenants) =>
    prepareDemo(database, tenants, directory),
  );
  const wanted = [...wantedRoles(settings.PULSE_ROLES)];
  const common = { settings, dataDirectory: directory.path, databaseUrl: postgres.appUrl, adminToken };
  const front = wanted.filter((role) => frontRoles.includes(role));
  const worker = wanted.filter((role) => !frontRoles.includes(role));
  let frontChild: SupervisedChild | null = null;
  let workerUrl: string | null = null;
  const supervise = (
    configuration: ChildConfiguration,
    niceness: number,
    onAddress: (url: string | null) => void,
  ) => {
    const child = new SupervisedChild({
      configuration,
      niceness,
      logger,
      onAddress,
      stopTimeoutMs: settings.PULSE_STOP_TIMEOUT_MS,
      nodeOptions: configuration.part === 'front' ? frontNodeOptions : [],
    });
    stops.push(() => child.stop());
    return child;
  };
  // The worker starts first and stops last, so that what the front accepted at the very end is still carried on.
  if (worker.length > 0) {
    await supervise({ ...common, part: 'worker', roles: worker }, workerNiceness, (url) => {
      workerUrl = url;
      frontChild?.send({ type: 'worker', url });
    }).start();
  }
  failpoint('supervisor.worker_started');
  if (front.length === 0) return { frontUrl: null, demoKey };
  frontChild = supervise({ ...common, part: 'front', roles: front }, 0, (url) => {
    if (url !== null) frontChild?.send({ type: 'worker', url: workerUrl });
  });
  return { frontUrl: await frontChild.start(), demoKey };
}

async function withDirectory<Result>(
  settings: AllSettings,
  url: string,
  logger: Logger,
  work: (
    database: Awaited<ReturnType<typeof openDatabase>>,
    directory: Awaited<ReturnType<typeof openDirectory>>,
  ) => Promise<Result>,
): Promise<Result> {
  const database = await openDatabase({
    url,
    poolSize: 2,
    applicationName: 'pulse-supervisor',
    statementTimeoutMs: 10_000,
    logger,
  });
  try {
    const directory = await openDirectory({ database, clock: systemClock, logger, settings });
    try {
      return await work(database, directory);
    } finally {
      await directory.close();
    }
  } finally {
    await database.close();
  }
}

function requireNode(): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 24) {
    throw serverError(
      'PULSE_SERVER_NODE_TOO_OLD',
      `Node ${process.versions.node} runs this; Pulse needs 24 or newer.`,
    );
  }
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
function stopSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: string): void => {
      if (asked) process.exit(130);
      asked = true;
      logger.info({ signal }, 'asked to stop');
      resolve();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}

// Found out before Postgres is started, so that the commonest mistake is told within a second.
async function requireFreePort(settings: AllSettings): Promise<void> {
  const { PULSE_PORT: port, PULSE_HOST: host } = settings;
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? serverError('PULSE_SERVER_PORT_IN_USE', `Another program listens on ${host}:${port}.`)
          : serverError(
              'PULSE_SERVER_CHILD_FAILED',
              `Pulse cannot listen on ${host}:${port}: ${error.code}.`,
              { cause: error },
            ),
      );
    });
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}
