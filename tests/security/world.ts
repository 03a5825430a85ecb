// Two tenants on a running Pulse, with keys of every kind, and something of the first one's to look for.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type RunningPulse, startPulse, temporaryDirectory, waitFor } from '../support/pulse.ts';

/** Who may call; `foreign` is the owner of the other tenant. */
export type Caller = 'none' | 'malformed' | 'revoked' | 'ingest' | 'read' | 'owner' | 'foreign' | 'platform';

export const victim = 'alpha';
const stranger = 'beta';

export interface World {
  readonly pulse: RunningPulse;
  /** Headers that make a request this caller's. */
  readonly credentials: Readonly<Record<Caller, Readonly<Record<string, string>>>>;
  /** Of the victim: a stored event, its receipt, a dead letter, a finished repair job, and a live key. */
  readonly eventId: string;
  readonly receiptId: string;
  readonly deadLetterId: string;
  readonly jobId: string;
  readonly keyId: string;
  /** A new key of a tenant. */
  makeKey(tenantId: string, scopes: readonly string[]): Promise<{ key_id: string; api_key: string }>;
}

/** Starts Pulse and fills it. */
export async function makeWorld(t: TestContext, environment: Record<string, string> = {}): Promise<World> {
  const pulse = await startPulse(t, { dataDirectory: await temporaryDirectory(t), environment });
  let keys = 0;
  const makeKey = async (tenantId: string, scopes: readonly string[]) => {
    const body = { name: `key ${++keys}`, scopes };
    const made = await pulse.post(`/v1/tenants/${tenantId}/keys`, body, { credential: pulse.adminToken });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body as { key_id: string; api_key: string };
  };
  for (const tenantId of [victim, stranger]) {
    const tenant = { tenant_id: tenantId, name: tenantId, limits: { requests_per_minute: 1_000_000 } };
    assert.equal((await pulse.post('/v1/tenants', tenant, { credential: pulse.adminToken })).status, 201);
  }
  const revoked = await makeKey(victim, ['ingest', 'read', 'admin']);
  const gone = await fetch(`${pulse.url}/v1/tenants/${victim}/keys/${revoked.key_id}`, {
    method: 'DELETE',
    headers: { 'x-api-key': pulse.adminToken },
  });
  assert.equal(gone.status, 200);
  const ingest = await makeKey(victim, ['ingest']);
  const owner = await makeKey(victim, ['admin']);
  const things = await fill(pulse, owner.api_key);
  return {
    pulse,
    makeKey,
    ...things,
    keyId: ingest.key_id,
    credentials: {
      none: {},
      malformed: { authorization: 'Bearer' },
      revoked: { 'x-api-key': revoked.api_key },
      ingest: { authorization: `Bearer ${ingest.api_key}` },
      read: { authorization: `Basic ${btoa(`${(await makeKey(victim, ['read'])).api_key}:`)}` },
      owner: { 'x-api-key': owner.api_key },
      foreign: { 'x-api-key': (await makeKey(stranger, ['ingest', 'read', 'admin'])).api_key },
      platform: { authorization: `Bearer ${pulse.adminToken}` },
    },
  };
}

async function fill(pulse: RunningPulse, credential: string) {
  const eventId = 'event of alpha';
  const body = [{ event_id: eventId, event_type: 'order.created', data: { n: 1 } }, { no: 'type' }];
  const { receipts } = (await pulse.post('/v1/collect', body, { credential })).body as {
    receipts: { receipt_id: string }[];
  };
  const receiptId = receipts[0]?.receipt_id as string;
  const found: { event: unknown; deadLetterId: string | undefined } = {
    event: null,
    deadLetterId: undefined,
  };
  await waitFor(
    async () => {
      const receipt = (await pulse.get(`/v1/receipts/${receiptId}`, credential)).body as { state: string };
      const list = (await pulse.get('/v1/dead-letters', credential)).body as {
        dead_letters: { id: string }[];
      };
      found.deadLetterId = list.dead_letters[0]?.id;
      return receipt.state === 'stored' && found.deadLetterId !== undefined;
    },
    { timeoutMs: 10_000, what: () => 'the event and the dead letter of alpha' },
  );
  const repair = { ids: [found.deadLetterId], dry_run: true };
  const asked = await pulse.post('/v1/dead-letters/reprocess', repair, { credential });
  const { job_id: jobId } = asked.body as { job_id: string };
  await waitFor(
    async () => {
      const { body: job } = await pulse.get(`/v1/jobs/${jobId}`, credential);
      return (job as { state: string }).state === 'succeeded';
    },
    { timeoutMs: 10_000, what: () => `the dry run of alpha: ${JSON.stringify(asked.body)}` },
  );
  return { eventId, receiptId, deadLetterId: found.deadLetterId as string, jobId };
}
