// Makes the tenants of a load run and a key for each, over the public API.
import { Api, ApiProblem } from '../api.ts';
import { cliError } from '../errors.ts';
import { rowsOf } from '../lists.ts';
import type { LoadTenant } from './plan.ts';

/** High enough that no run is throttled unless it means to be. */
const requestsPerMinute = 100_000_000;
const keyName = 'loadgen';
/** Tenants that are prepared at the same time. */
const parallel = 8;

export interface PrepareOptions {
  readonly origin: string;
  readonly adminToken: string;
  readonly count: number;
  readonly signal: AbortSignal;
}

/**
 * Tenants `load_0` to `load_<count−1>` with raised limits, each with one fresh key; keys of earlier runs are revoked.
 * Errors: those of the API.
 */
export async function prepareTenants(options: PrepareOptions): Promise<readonly LoadTenant[]> {
  const api = new Api({ origin: options.origin, credential: options.adminToken, signal: options.signal });
  const tenants: LoadTenant[] = new Array(options.count);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < options.count) {
      const index = next++;
      tenants[index] = await prepareTenant(api, `load_${index}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, options.count) }, worker));
  return tenants;
}

async function prepareTenant(api: Api, tenantId: string): Promise<LoadTenant> {
  const limits = { requests_per_minute: requestsPerMinute };
  const made = await api.request('POST', '/v1/tenants', {
    body: { tenant_id: tenantId, name: `Load ${tenantId}`, limits },
    alsoOk: [409],
  });
  if (made.status === 409) await api.request('PATCH', `/v1/tenants/${tenantId}`, { body: { limits } });
  await revokeEarlierKeys(api, tenantId);
  const key = await api.request('POST', `/v1/tenants/${tenantId}/keys`, {
    body: { name: keyName, scopes: ['ingest'] },
  });
  const apiKey = key.body['api_key'];
  if (typeof apiKey !== 'string') {
    throw cliError('PULSE_CLI_ANSWER_UNEXPECTED', `The new key of ${tenantId} is not in the answer.`);
  }
  return { tenantId, apiKey };
}

// A tenant has two live keys at most; without this, a third run could not make its own.
async function revokeEarlierKeys(api: Api, tenantId: string): Promise<void> {
  const keys = rowsOf(await api.get(`/v1/tenants/${tenantId}/keys`), 'keys');
  for (const key of keys) {
    if (key['name'] !== keyName || typeof key['revoked_at'] === 'string') continue;
    try {
      await api.request('DELETE', `/v1/tenants/${tenantId}/keys/${String(key['key_id'])}`);
    } catch (error) {
      // Another run may have revoked it in this moment.
      if (!(error instanceof ApiProblem && error.status === 404)) throw error;
    }
  }
}
