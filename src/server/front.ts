// The front: collect and the API on one port. The only writer of the raw topics.
import { collectServerOptions, createCollect, registerCollectDocs } from '../collect/index.ts';
import { systemClock } from '../core/clock.ts';
import { createMemoryRateLimiter } from '../ports/rate-limiter/memory/index.ts';
import { openPostgresTaskQueue } from '../ports/task-queue/postgres/index.ts';
import { startRepair } from '../process/index.ts';
import type { Logger } from '../telemetry/logger.ts';
import { authenticate, registerAuthentication } from '../tenancy/index.ts';
import { registerApi } from './api.ts';
import { createApp } from './app.ts';
import { recoverTopics, Topics } from './event-log.ts';
import { openFoundations } from './foundations.ts';
import { diskSpace } from './health.ts';
import type { ChildConfiguration } from './messages.ts';
import { registerOperationsRoutes, workerDependency } from './operations.ts';
import type { Part } from './part.ts';

/** Starts the front and resolves once it accepts requests. */
export async function startFront(configuration: ChildConfiguration, logger: Logger): Promise<Part> {
  const { settings, adminToken } = configuration;
  const { database, directory, log } = await openFoundations(configuration, logger);
  const topics = new Topics(log, database, directory, settings);
  await topics.createAll();
  await recoverTopics(log, directory, ['raw'], logger);
  const limiter = createMemoryRateLimiter({ clock: systemClock });
  const collect = createCollect({
    log,
    directory,
    authenticate: (headers) => authenticate(headers, directory, adminToken),
    limiter,
    clock: systemClock,
    logger,
    settings,
    rawTopic: (tenantId) => topics.rawTopic(tenantId),
  });
  await collect.start();
  let workerUrl: string | null = null;
  const collects = configuration.roles.includes('collect');
  const app = await createApp({
    logger,
    serverOptions: collectServerOptions(settings),
    intercept: collects ? (request, response) => collect.handle(request, response) : () => false,
  });
  registerAuthentication(app, { directory, adminToken });
  if (collects) registerCollectDocs(app, collect);
  registerOperationsRoutes(app, {
    part: 'front',
    logger,
    workerUrl: () => workerUrl,
    dependencies: [
      { name: 'postgres', check: async () => `answered ${(await database.query('SELECT 1')).rowCount} row` },
      {
        name: 'event_log',
        check: async () =>
          `${(await log.bounds(directory.topicSets()[0]?.names.raw ?? '')).length} partitions`,
      },
      diskSpace(configuration.dataDirectory),
      workerDependency(() => workerUrl),
    ],
  });
  const tasks = await openPostgresTaskQueue({ url: configuration.databaseUrl, logger });
  const rawTopic = (tenantId: string) => topics.rawTopic(tenantId);
  const dependencies = { database, directory, log, clock: systemClock, settings, logger, tasks, rawTopic };
  if (configuration.roles.includes('api')) registerApi(app, dependencies);
  const url = await app.listen({ port: settings.PULSE_PORT, host: settings.PULSE_HOST });
  // Repairs append to the raw topics, and this process is their one writer.
  if (configuration.roles.includes('api')) await startRepair(dependencies);
  return {
    url,
    setWorker: (next) => {
      workerUrl = next;
    },
    stop: async () => {
      await collect.drain();
      await app.close();
      await tasks.close();
      await log.close();
      await directory.close();
      await limiter.close();
      await database.close();
    },
  };
}
