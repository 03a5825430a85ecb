// The role `pulse_app` that the running program uses: made by the owner, with rights that each migration grants.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { Client, DatabaseError } from 'pg';

/** The role of the running program. */
export const APP_ROLE = 'pulse_app';

/**
 * Makes the role `pulse_app` of `appUrl`, or sets its password when the one in `appUrl` does not work.
 * Guarantees: the password reaches neither the wire nor a log, only its SCRAM verifier does; several processes may do so at once.
 */
export async function ensureAppRole(owner: Client, appUrl: string): Promise<void> {
  const { username, password } = new URL(appUrl);
  const role = decodeURIComponent(username);
  const found = await owner.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
  if (found.rowCount === 0) {
    try {
      await owner.query(
        `CREATE ROLE ${owner.escapeIdentifier(role)} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE`,
      );
    } catch (error) {
      if (!(error instanceof DatabaseError) || !['42710', '23505'].includes(error.code ?? '')) throw error; // Another process was first.
    }
  }
  if (await canLogIn(appUrl)) return;
  const verifier = scramVerifier(decodeURIComponent(password));
  await owner.query(`ALTER ROLE ${owner.escapeIdentifier(role)} PASSWORD ${owner.escapeLiteral(verifier)}`);
}

/** The password of `pulse_app` at an outside server, so that only one secret has to be kept. */
export function derivedAppPassword(ownerPassword: string): string {
  return createHmac('sha256', ownerPassword).update(APP_ROLE).digest('base64url');
}

async function canLogIn(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  try {
    await client.connect();
    return true;
  } catch (error) {
    if (error instanceof DatabaseError && ['28P01', '28000'].includes(error.code ?? '')) return false;
    throw error;
  } finally {
    await client.end().catch(() => {}); // It never connected.
  }
}

/** What Postgres keeps of a password. Source: RFC 5802 and RFC 7677, in the form of pg_authid.rolpassword. ASCII passwords only. */
function scramVerifier(password: string): string {
  const iterations = 4096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const keyOf = (label: string) => createHmac('sha256', salted).update(label).digest();
  const stored = createHash('sha256').update(keyOf('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${keyOf('Server Key').toString('base64')}`;
}
