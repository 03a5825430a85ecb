// The OpenAPI document without a running server; for docs/reference/openapi.json.
import { registerCollectDocs } from '../collect/index.ts';
import { createLogger } from '../telemetry/logger.ts';
import { registerAuthentication } from '../tenancy/index.ts';
import { type ApiDependencies, registerApi } from './api.ts';
import { createApp } from './app.ts';
import { registerOperationsRoutes } from './operations.ts';

/** The OpenAPI 3.1 document of the front. */
export async function describeApi(): Promise<unknown> {
  const logger = createLogger({ level: 'silent', process: 'describe' });
  const app = await createApp({ logger, serverOptions: {}, intercept: () => false });
  // Routes keep their dependencies and call them only when a request comes; here none ever does.
  const dependencies = { logger } as unknown as ApiDependencies;
  registerAuthentication(app, { directory: dependencies.directory, adminToken: '' });
  registerCollectDocs(app);
  registerOperationsRoutes(app, { part: 'front', logger, workerUrl: () => null, dependencies: [] });
  registerApi(app, dependencies);
  await app.ready();
  const document = app.swagger();
  await app.close();
  return document;
}
