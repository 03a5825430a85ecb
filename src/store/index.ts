// The store room as the server sees it.
import type { FastifyInstance } from 'fastify';
import type { StoreRouteDependencies } from './access.ts';
import { registerAnalyticsRoutes } from './analytics-routes.ts';
import { registerEventRoutes } from './event-routes.ts';
import { registerPipelineRoutes } from './pipeline-routes.ts';
import { ReadGate } from './read-gate.ts';
import { registerReceiptRoutes } from './receipt-routes.ts';
import { registerStreamRoute } from './stream-routes.ts';

export { createStore } from './store.ts';

/** Connections that reads leave to others: the directory of keys, and the routes of tenants. */
const connectionsSpared = 2;

/**
 * Registers every read route of this room; `registerAuthentication` must have run on the application.
 * Guarantees: reads leave two connections of the pool to others, and those of one tenant take at most half of the rest.
 */
export function registerStoreRoutes(
  app: FastifyInstance,
  outside: Omit<StoreRouteDependencies, 'reads'> & {
    readonly settings: { readonly PULSE_DATABASE_POOL_SIZE: number };
  },
): void {
  // Settings are missing where the routes are only described.
  const totalMax = Math.max(1, (outside.settings?.PULSE_DATABASE_POOL_SIZE ?? 0) - connectionsSpared);
  const callerMax = Math.ceil(totalMax / 2);
  const reads = new ReadGate({ totalMax, callerMax, waitingMax: 100, waitMs: 10_000 });
  const dependencies = { ...outside, reads };
  registerEventRoutes(app, dependencies);
  registerStreamRoute(app, dependencies);
  registerAnalyticsRoutes(app, dependencies);
  registerReceiptRoutes(app, dependencies);
  registerPipelineRoutes(app, dependencies);
}
