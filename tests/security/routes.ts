// Every route of the public API, and who may call it. A route that is not in this list fails the route matrix: say here
// what it needs and how it names things of a tenant, and the matrix attacks it.
import type { World } from './world.ts';

/** What a caller must hold. */
type Needs = 'open' | 'ingest' | 'read' | 'admin' | 'platform';

export interface Route {
  readonly needs: Needs;
  /** Status of a right request. */
  readonly ok: number;
  /** Values of the path's parameters: things that are the victim's. */
  readonly own?: (world: World) => Readonly<Record<string, string>>;
  /** The same parameters for things that never were. */
  readonly nowhere?: Readonly<Record<string, string>>;
  /** True when the route reads one tenant by `?tenant_id=`. */
  readonly filtersByTenant?: boolean;
  /** True when the administrator must name the tenant by `?tenant_id=`. */
  readonly actsOnOneTenant?: boolean;
  readonly body?: (n: number) => unknown;
  /** Makes the thing that a request uses up; its parameters stand in for `own`. */
  readonly consume?: (world: World) => Promise<Readonly<Record<string, string>>>;
}

const event = () => ({ event_type: 'order.created', data: { n: 1 } });
const ownTenant = () => ({ tenant_id: 'alpha' });
const noTenant = { tenant_id: 'gamma' };
const list: Route = { needs: 'read', ok: 200, filtersByTenant: true };
const open: Route = { needs: 'open', ok: 200 };
const ofEvent = {
  own: (world: World) => ({ event_id: world.eventId }),
  nowhere: { event_id: 'event of nobody' },
};

const ofJob = {
  own: (world: World) => ({ job_id: world.jobId }),
  nowhere: { job_id: '00000000-0000-7000-8000-000000000000' },
};

export const routes: Readonly<Record<string, Route>> = {
  'GET /healthz': open,
  'GET /readyz': open,
  'GET /metrics': open,
  'POST /v1/collect': { needs: 'ingest', ok: 202, body: event },
  'POST /events': { needs: 'ingest', ok: 202, body: event },
  'GET /v1/tenants': { needs: 'read', ok: 200 },
  'POST /v1/tenants': { needs: 'platform', ok: 201, body: (n) => ({ tenant_id: `made-${n}`, name: 'Made' }) },
  'GET /v1/tenants/{tenant_id}': { needs: 'read', ok: 200, own: ownTenant, nowhere: noTenant },
  'PATCH /v1/tenants/{tenant_id}': {
    needs: 'admin',
    ok: 200,
    own: ownTenant,
    nowhere: noTenant,
    body: () => ({ name: 'Alpha' }),
  },
  'GET /v1/tenants/{tenant_id}/keys': { needs: 'admin', ok: 200, own: ownTenant, nowhere: noTenant },
  'POST /v1/tenants/{tenant_id}/keys': {
    needs: 'admin',
    ok: 201,
    own: ownTenant,
    nowhere: noTenant,
    body: (n) => ({ name: `made ${n}`, scopes: ['read'] }),
  },
  'DELETE /v1/tenants/{tenant_id}/keys/{key_id}': {
    needs: 'admin',
    ok: 200,
    own: (world) => ({ tenant_id: 'alpha', key_id: world.keyId }),
    nowhere: { tenant_id: 'gamma', key_id: 'key_00000000000000000000000000000000' },
    consume: async (world) => ({
      tenant_id: 'alpha',
      key_id: (await world.makeKey('alpha', ['read'])).key_id,
    }),
  },
  'GET /v1/usage': list,
  'GET /v1/audit': { ...list, needs: 'admin' },
  'GET /v1/audit/verify': { ...list, needs: 'admin' },
  'GET /v1/events': list,
  'GET /v1/events/{event_id}': { ...list, ...ofEvent },
  'GET /v1/events/{event_id}/raw': { ...list, ...ofEvent },
  'GET /v1/events/stream': list,
  'GET /v1/metrics': list,
  'GET /v1/stats': list,
  'GET /v1/receipts/{receipt_id}': {
    needs: 'read',
    ok: 200,
    own: (world) => ({ receipt_id: world.receiptId }),
    nowhere: { receipt_id: 'rcp_gamma.1.0.0' },
  },
  'GET /v1/reconciliation': list,
  'GET /v1/pipeline': list,
  'GET /v1/dead-letters': list,
  'GET /v1/dead-letters/sample': list,
  'GET /v1/dead-letters/groups': list,
  'GET /v1/dead-letters/{id}': {
    ...list,
    own: (world) => ({ id: world.deadLetterId }),
    nowhere: { id: '00000000-0000-7000-8000-000000000000' },
  },
  'POST /v1/dead-letters/reprocess': {
    needs: 'admin',
    ok: 202,
    filtersByTenant: true,
    actsOnOneTenant: true,
    body: () => ({ filter: { code: 'none' }, dry_run: true }),
  },
  'POST /v1/dead-letters/discard': {
    needs: 'admin',
    ok: 200,
    filtersByTenant: true,
    actsOnOneTenant: true,
    body: () => ({ filter: { code: 'none' }, reason: 'none' }),
  },
  'GET /v1/jobs': list,
  'GET /v1/jobs/{job_id}': { ...list, ...ofJob },
  'GET /v1/jobs/{job_id}/items': { ...list, ...ofJob },
  // The job has succeeded: who may cancel or resume it is told so.
  'POST /v1/jobs/{job_id}/cancel': { needs: 'admin', ok: 409, filtersByTenant: true, ...ofJob },
  'POST /v1/jobs/{job_id}/resume': { needs: 'admin', ok: 409, filtersByTenant: true, ...ofJob },
};

/** Routes that are open and not in the OpenAPI. None of them may read a tenant's data. */
export const hiddenRoutes: readonly string[] = [
  '/',
  '/openapi.json',
  '/metrics.json',
  '/docs/',
  '/docs/json',
  '/docs/yaml',
];

/** The path of a route with its parameters filled in. */
export function pathOf(template: string, values: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? name));
}
