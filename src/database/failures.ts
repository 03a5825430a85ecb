// What an error of the driver means. The only place that reads codes and messages of pg.
import { DatabaseError } from 'pg';
import { PulseError } from '../core/errors.ts';
import { databaseError } from './errors.ts';

/** SQLSTATEs after which the connection is gone or was never made. */
const unavailableStates = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '57P05', // idle_session_timeout
  '25P03', // idle_in_transaction_session_timeout
  '25P04', // transaction_timeout
  '53300', // too_many_connections
]);

const loginStates = new Set(['28P01', '28000', '3D000']);

/** True when the connection broke, so that nobody knows what the server did with the statement in hand. */
export function isConnectionFailure(error: unknown): boolean {
  if (error instanceof DatabaseError) {
    const state = error.code ?? '';
    return unavailableStates.has(state) || state.startsWith('08');
  }
  // Whatever did not come from the server as an error came from the socket, or from the driver about the socket.
  return error instanceof Error && !(error instanceof PulseError) && isDriverFailure(error);
}

function isDriverFailure(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (/^E[A-Z]+$/.test(code)) return true;
  return /^(Connection terminated|Query read timeout|timeout exceeded when trying to connect|timeout expired|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end)/.test(
    error.message,
  );
}

/** The named error for what the driver threw; everything that is not about the connection is returned as it is. */
export function translate(error: unknown): unknown {
  if (error instanceof PulseError) return error;
  if (isConnectionFailure(error)) {
    const facts = { cause: error, retryAfterMs: 1_000 };
    return databaseError('PULSE_DATABASE_UNAVAILABLE', `Postgres: ${(error as Error).message}.`, facts);
  }
  if (!(error instanceof DatabaseError)) return error;
  if (error.code === '57014') {
    return databaseError('PULSE_DATABASE_TIMEOUT', `Postgres: ${error.message}.`, { cause: error });
  }
  if (loginStates.has(error.code ?? '')) {
    return databaseError('PULSE_DATABASE_LOGIN_FAILED', `Postgres: ${error.message}.`, { cause: error });
  }
  return error;
}
