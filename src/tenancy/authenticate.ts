// Who is calling, from plain HTTP headers. Needs no web framework: the ingest path calls it for every request.
import type { IncomingHttpHeaders } from 'node:http';
import { hasCode, type PulseError } from '../core/errors.ts';
import { tenancyError } from './errors.ts';
import { equalsSecret, isApiKey } from './keys.ts';
import { countRejection, type RejectionReason } from './metrics.ts';
import type { Directory, Principal } from './types.ts';

/** Longest Authorization header that is looked at. */
const authorizationCharsMax = 1024;

const administrator: Principal = { kind: 'admin' };

/**
 * The principal of a request. The credential is an API key or the admin token, sent as `X-API-Key`, as
 * `Authorization: Bearer …`, or as `Authorization: Basic …` with the credential as password, or as user when the
 * password is empty (as event SDKs send their write key) or when only the user is an API key.
 * Guarantees: the identity comes from the credential alone; the admin token is compared in constant time; nothing of the
 * credential is put into an error. An empty `adminToken` lets nobody in.
 * Errors: PULSE_TENANCY_CREDENTIAL_MISSING and PULSE_TENANCY_CREDENTIAL_INVALID (401, with `details.reason`),
 * PULSE_TENANCY_DIRECTORY_STALE (503).
 * Cost: one SHA-256 for an API key, 0.8 µs in all.
 */
export function authenticate(
  headers: IncomingHttpHeaders,
  directory: Pick<Directory, 'principal'>,
  adminToken: string,
): Principal {
  const credential = credentialOf(headers);
  // Keys are looked up first: comparing with the admin token would cost every event two more hashes.
  if (!isApiKey(credential)) {
    if (equalsSecret(credential, adminToken)) return administrator;
    throw refused('unknown', 'The credential is neither an API key (pk_…) nor the admin token.');
  }
  let principal: Principal | null = null;
  try {
    principal = directory.principal(credential);
  } catch (error) {
    // A token in the form of a key still opens the door while Postgres is down.
    if (equalsSecret(credential, adminToken)) return administrator;
    if (hasCode(error, 'PULSE_TENANCY_DIRECTORY_STALE')) countRejection('stale');
    throw error;
  }
  if (principal !== null) return principal;
  if (equalsSecret(credential, adminToken)) return administrator;
  throw refused('unknown', 'The API key is unknown, revoked or expired, or its tenant is suspended.');
}

/** The one credential that the headers carry. */
function credentialOf(headers: IncomingHttpHeaders): string {
  const apiKey = apiKeyHeader(headers['x-api-key']);
  const authorization = authorizationCredential(headers.authorization);
  if (apiKey === null && authorization === null) {
    countRejection('missing');
    throw tenancyError(
      'PULSE_TENANCY_CREDENTIAL_MISSING',
      'The request has neither an X-API-Key nor an Authorization header.',
      { details: { reason: 'missing' } },
    );
  }
  if (apiKey !== null && authorization !== null && apiKey !== authorization) {
    throw refused(
      'conflicting',
      'X-API-Key and Authorization carry different credentials; send one of them.',
    );
  }
  return (apiKey ?? authorization) as string;
}

function apiKeyHeader(value: string | string[] | undefined): string | null {
  if (value === undefined) return null;
  if (typeof value === 'string' && isApiKey(value)) return value;
  // Node joins repeated headers with a comma, which no credential contains.
  if (typeof value !== 'string' || value.includes(',')) {
    throw refused('conflicting', 'X-API-Key is sent more than once; send one of them.');
  }
  if (value.trim() === '') throw refused('malformed', 'X-API-Key is empty.');
  return value.trim();
}

function authorizationCredential(value: string | undefined): string | null {
  if (value === undefined) return null;
  // Nearly all callers write it like this, and the general way costs as much as the hash that follows.
  if (value.startsWith('Bearer pk_')) return value.slice('Bearer '.length).trimEnd();
  const match = value.length > authorizationCharsMax ? null : /^ *([A-Za-z]+) +(\S+) *$/.exec(value);
  const scheme = match?.[1]?.toLowerCase();
  const credential = match?.[2] ?? '';
  if (scheme === 'bearer') return credential;
  if (scheme === 'basic') return basicCredential(credential);
  throw refused(
    'malformed',
    'The Authorization header is neither `Bearer <credential>` nor `Basic <user:password in base64>`.',
  );
}

function basicCredential(encoded: string): string {
  const decoded = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  const user = colon === -1 ? decoded : decoded.slice(0, colon);
  const password = colon === -1 ? '' : decoded.slice(colon + 1);
  if (user === '' && password === '') {
    throw refused('malformed', 'The Basic credential holds neither a user nor a password.');
  }
  if (password === '' || password === user) return user;
  if (!isApiKey(user)) return password;
  if (!isApiKey(password)) return user;
  throw refused('conflicting', 'The Basic credential holds two different API keys; send one of them.');
}

function refused(reason: RejectionReason, detail: string): PulseError {
  countRejection(reason);
  return tenancyError('PULSE_TENANCY_CREDENTIAL_INVALID', detail, { details: { reason } });
}
