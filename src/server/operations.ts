// Routes of the operator: /healthz, /readyz, /metrics, and the start page. The same for the front and the worker.
import type { FastifyInstance } from 'fastify';
import { AggregatorRegistry, collectDefaultMetrics, type Registry } from 'prom-client';
import type { Logger } from '../telemetry/logger.ts';
import { registry } from '../telemetry/registry.ts';
import { type Dependency, readiness } from './health.ts';
import { version } from './version.ts';

const workerTimeoutMs = 1_500;

export interface OperationsOptions {
  readonly part: 'front' | 'worker';
  readonly dependencies: readonly Dependency[];
  /** Address of the worker's own server, on the front; its metrics are served together with the front's. */
  readonly workerUrl: () => string | null;
  readonly logger: Logger;
}

export function registerOperationsRoutes(app: FastifyInstance, options: OperationsOptions): void {
  const startedAt = new Date().toISOString();
  registry.setDefaultLabels({ process: options.part });
  collectDefaultMetrics({ register: registry });
  const tags = ['operations'];
  app.get('/healthz', { schema: { tags, summary: 'This process is alive.' } }, async () => ({
    status: 'ok',
    part: options.part,
    version,
    started_at: startedAt,
  }));
  app.get(
    '/readyz',
    { schema: { tags, summary: 'Every dependency of this process, asked now; 503 when one fails.' } },
    async (_request, reply) => {
      const report = await readiness(options.dependencies);
      return reply.code(report.status === 'ready' ? 200 : 503).send(report);
    },
  );
  app.get(
    '/metrics',
    { schema: { tags, summary: 'Metrics of all processes, for Prometheus.' } },
    async (_request, reply) => {
      const own = await registry.getMetricsAsJSON();
      const worker = await workerMetrics(options);
      const merged = AggregatorRegistry.aggregate(worker === null ? [own] : [own, worker]);
      return reply.type(registry.contentType).send(await merged.metrics());
    },
  );
  app.get('/metrics.json', { schema: { hide: true } }, async () => registry.getMetricsAsJSON());
}

type MetricsJson = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

async function workerMetrics(options: OperationsOptions): Promise<MetricsJson | null> {
  const url = options.workerUrl();
  if (url === null) return null;
  try {
    const response = await fetch(`${url}/metrics.json`, { signal: AbortSignal.timeout(workerTimeoutMs) });
    return (await response.json()) as MetricsJson;
  } catch (error) {
    // The front's own metrics are worth more than none; /readyz says that the worker is gone.
    options.logger.warn({ error: (error as Error).message }, 'the worker gave no metrics');
    return null;
  }
}

/** The worker as a dependency of the front. */
export function workerDependency(workerUrl: () => string | null): Dependency {
  return {
    name: 'worker',
    check: async () => {
      const url = workerUrl();
      if (url === null) throw new Error('the worker is not running; the supervisor starts it again');
      const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(workerTimeoutMs) });
      const report = (await response.json()) as {
        dependencies: { name: string; status: string; detail: string }[];
      };
      const failed = report.dependencies.filter((entry) => entry.status !== 'ok');
      if (failed.length > 0)
        throw new Error(failed.map((entry) => `${entry.name}: ${entry.detail}`).join('; '));
      return `${report.dependencies.length} dependencies ok`;
    },
  };
}
