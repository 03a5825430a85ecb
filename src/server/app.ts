// The HTTP application of the front: Fastify with one way to report errors, request ids, and the OpenAPI.
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
} from 'fastify';
import { PulseError } from '../core/errors.ts';
import { uuidv7 } from '../core/ids.ts';
import { internalError, problemBody, problemHeaders } from '../core/problem.ts';
import type { Logger } from '../telemetry/logger.ts';
import { answerClientError } from './client-error.ts';
import { requestUnreadable, serverError } from './errors.ts';
import { openApiDocument, withCommonResponses } from './openapi.ts';

const requestIdPattern = /^[\x21-\x7e]{1,128}$/;

export interface AppOptions {
  readonly logger: Logger;
  readonly serverOptions: ServerOptions;
  /** Takes a request before Fastify sees it (the ingest hot path); true when it did. */
  readonly intercept: (request: IncomingMessage, response: ServerResponse) => boolean;
}

/** Makes the application without routes; the caller registers them and calls listen. */
export async function createApp(options: AppOptions): Promise<FastifyInstance> {
  const app = fastify({
    serverFactory: (handler: RequestListener) =>
      createServer(options.serverOptions, (request, response) => {
        if (!options.intercept(request, response)) handler(request, response);
      }),
    bodyLimit: 1_048_576,
    genReqId: requestId,
    ajv: { customOptions: { allErrors: true, removeAdditional: false, coerceTypes: true } },
    routerOptions: { maxParamLength: 1024 },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id);
      sendError(error, request, reply, options.logger);
    },
    clientErrorHandler: answerClientError,
  });
  app.setErrorHandler((error: FastifyError, request, reply) =>
    sendError(error, request, reply, options.logger),
  );
  app.setNotFoundHandler((request, reply) => {
    const detail = `${request.method} ${request.url.split('?')[0]} is no route of Pulse.`;
    return sendError(serverError('PULSE_ROUTE_UNKNOWN', detail), request, reply, options.logger);
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    reply.header('x-content-type-options', 'nosniff');
  });
  app.addHook('onResponse', async (request, reply) => {
    options.logger.debug(
      {
        request_id: request.id,
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'request',
    );
  });
  await app.register(swagger, { openapi: openApiDocument, transform: withCommonResponses });
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, uiConfig: { deepLinking: true } });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  return app;
}

function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && requestIdPattern.test(given) ? given : uuidv7(Date.now());
}

function sendError(
  error: FastifyError | PulseError,
  request: FastifyRequest,
  reply: FastifyReply,
  logger: Logger,
): FastifyReply {
  const known = asPulseError(error);
  if (known === null)
    logger.error({ err: error, request_id: request.id, route: request.routeOptions.url }, 'unexpected error');
  const shown = known ?? internalError();
  for (const [name, value] of Object.entries(problemHeaders(shown))) reply.header(name, value);
  return reply.code(shown.status).send(problemBody(shown, request.id));
}

function asPulseError(error: FastifyError | PulseError): PulseError | null {
  if (error instanceof PulseError) return error;
  if (error.validation !== undefined) {
    const part = error.validationContext ?? 'request';
    const errors = error.validation.map((failure) => ({
      pointer: failure.instancePath,
      rule: failure.keyword,
      message: `${part}${failure.instancePath} ${failure.message ?? 'is invalid'}`,
      allowed: failure.params,
    }));
    return serverError('PULSE_REQUEST_INVALID', errors.map((entry) => entry.message).join('; '), {
      details: { errors },
    });
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) {
    return requestUnreadable(status, error.message);
  }
  return null;
}
