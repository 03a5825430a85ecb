// Authentication of Fastify routes: `requireScope` runs before a handler, which then asks `principalOf(request)`.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { authenticate } from './authenticate.ts';
import { assertScope, type NeededScope } from './scopes.ts';
import type { Directory, Principal } from './types.ts';

export interface AuthenticationOptions {
  readonly directory: Pick<Directory, 'principal'>;
  readonly adminToken: string;
}

declare module 'fastify' {
  interface FastifyInstance {
    /** How this application authenticates; set by `registerAuthentication`. */
    authentication: AuthenticationOptions;
  }
  interface FastifyRequest {
    /** Who is calling; null until `requireScope` has run. Read it through `principalOf`. */
    principal: Principal | null;
  }
}

/** Prepares an application for `requireScope`. Call it on the root, before routes are registered. */
export function registerAuthentication(app: FastifyInstance, options: AuthenticationOptions): void {
  app.decorate('authentication', options);
  app.decorateRequest('principal', null);
}

/**
 * A hook that lets a request pass when its credential holds the scope. Use it as `onRequest`, so that a stranger's body
 * is not even read; as `preHandler` it works too.
 * Errors: those of `authenticate`, then PULSE_TENANCY_SCOPE_MISSING.
 */
export function requireScope(needed: NeededScope): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const { directory, adminToken } = request.server.authentication;
    const principal = authenticate(request.headers, directory, adminToken);
    assertScope(principal, needed);
    request.principal = principal;
  };
}

/** Who is calling. Errors: throws when the route has no `requireScope`: a forgotten check must not open a door. */
export function principalOf(request: Pick<FastifyRequest, 'principal' | 'routeOptions'>): Principal {
  if (request.principal === null) {
    throw new Error(`route ${request.routeOptions.url} asks for its principal without requireScope`);
  }
  return request.principal;
}
