// Every route of the public API in one place, so that the server and the OpenAPI description cannot differ.
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../core/clock.ts';
import type { Database } from '../database/types.ts';
import type { EventLog } from '../ports/event-log/event-log.ts';
import type { TaskQueue } from '../ports/task-queue/task-queue.ts';
import { registerDeadLetterRoutes, registerRepairRoutes } from '../process/index.ts';
import { registerStoreRoutes } from '../store/index.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Directory, registerTenancyRoutes } from '../tenancy/index.ts';
import type { RawTopic } from './event-log.ts';
import type { AllSettings } from './settings.ts';
import { registerStartPage } from './start-page.ts';

export interface ApiDependencies {
  readonly database: Database;
  readonly directory: Directory;
  readonly log: EventLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: AllSettings;
  readonly tasks: TaskQueue;
  readonly rawTopic: (tenantId: string) => Promise<RawTopic>;
}

/** Registers every route of the role `api`. Routes only keep their dependencies; nothing is called here. */
export function registerApi(app: FastifyInstance, dependencies: ApiDependencies): void {
  registerStartPage(app);
  registerTenancyRoutes(app, dependencies);
  registerStoreRoutes(app, dependencies);
  registerDeadLetterRoutes(app, dependencies);
  registerRepairRoutes(app, dependencies);
}
