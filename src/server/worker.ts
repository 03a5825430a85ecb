// The worker: process, dead letters and store. The only writer of the valid and dead-letter topics.
import { systemClock } from '../core/clock.ts';
import { createDeadLetters, createProcess } from '../process/index.ts';
import { createStore } from '../store/index.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createApp } from './app.ts';
import { recoverTopics, Topics } from './event-log.ts';
import { openFoundations } from './foundations.ts';
import { type Dependency, diskSpace } from './health.ts';
import type { ChildConfiguration } from './messages.ts';
import { registerOperationsRoutes } from './operations.ts';
import type { Part } from './part.ts';

/** A loop of the worker. */
interface Stage {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Null while all is well; else what stopped, for /readyz. */
  problem(): string | null;
}

/** Starts the worker's stages and its own small HTTP server. */
export async function startWorker(configuration: ChildConfiguration, logger: Logger): Promise<Part> {
  const { settings, roles } = configuration;
  const { database, directory, log } = await openFoundations(configuration, logger);
  await new Topics(log, database, directory, settings).createAll();
  await recoverTopics(log, directory, ['valid', 'dlq'], logger);
  const dependencies = { log, database, directory, clock: systemClock, logger, settings };
  const stages = new Map<string, Stage>();
  if (roles.includes('process')) {
    stages.set('process', createProcess(dependencies));
    stages.set('dead_letters', createDeadLetters(dependencies));
  }
  if (roles.includes('store')) stages.set('store', createStore(dependencies));
  for (const stage of stages.values()) await stage.start();

  const app = await createApp({ logger, serverOptions: {}, intercept: () => false });
  registerOperationsRoutes(app, {
    part: 'worker',
    logger,
    workerUrl: () => null,
    dependencies: [
      { name: 'postgres', check: async () => `answered ${(await database.query('SELECT 1')).rowCount} row` },
      diskSpace(configuration.dataDirectory),
      ...[...stages].map(([name, stage]) => stageDependency(name, stage)),
    ],
  });
  const port = settings.PULSE_HEALTH_PORT;
  const url = await app.listen({ port, host: port === 0 ? '127.0.0.1' : settings.PULSE_HOST });
  return {
    url,
    setWorker: () => {},
    stop: async () => {
      await app.close();
      await Promise.all([...stages.values()].map((stage) => stage.stop()));
      await log.close();
      await directory.close();
      await database.close();
    },
  };
}

function stageDependency(name: string, stage: Stage): Dependency {
  return {
    name,
    check: async () => {
      const problem = stage.problem();
      if (problem !== null) throw new Error(problem);
      return 'running';
    },
  };
}
