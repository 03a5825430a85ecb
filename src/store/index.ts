// The store room as the server sees it.
import type { FastifyInstance } from 'fastify';
import type { StoreRouteDependencies } from './access.ts';
import { registerAnalyticsRoutes } from './analytics-routes.ts';
import { registerEventRoutes } from './event-routes.ts';
import { registerPipelineRoutes } from './pipeline-routes.ts';
import { registerReceiptRoutes } from './receipt-routes.ts';
import { registerStreamRoute } from './stream-routes.ts';

export { createStore } from './store.ts';

/** Registers every read route of this room; `registerAuthentication` must have run on the application. */
export function registerStoreRoutes(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  registerEventRoutes(app, dependencies);
  registerStreamRoute(app, dependencies);
  registerAnalyticsRoutes(app, dependencies);
  registerReceiptRoutes(app, dependencies);
  registerPipelineRoutes(app, dependencies);
}
