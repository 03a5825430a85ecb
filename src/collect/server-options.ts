// Options of the node:http server that collect runs on. They apply to every route of that server.
import type { ServerOptions } from 'node:http';
import type { CollectSettings } from './config.ts';

/**
 * What `http.createServer` must be given.
 * Guarantees: a connection that sends its headers or body too slowly ends, so that half requests cannot pile up.
 * Collect answers a slow body itself (408 with a problem); `requestTimeout` is the net below it, for other routes too.
 */
export function collectServerOptions(
  settings: Pick<CollectSettings, 'PULSE_COLLECT_BODY_TIMEOUT_MS' | 'PULSE_COLLECT_KEEP_ALIVE_MS'>,
): ServerOptions {
  return {
    keepAlive: true,
    keepAliveTimeout: settings.PULSE_COLLECT_KEEP_ALIVE_MS,
    headersTimeout: 10_000,
    requestTimeout: settings.PULSE_COLLECT_BODY_TIMEOUT_MS + 15_000,
    connectionsCheckingInterval: 5_000,
    maxHeaderSize: 16_384,
    noDelay: true,
  };
}
