// What can go wrong on the command line itself, and the exit codes of every command.
import { defineErrors, type PulseError } from '../core/errors.ts';

export const cliError = defineErrors({
  PULSE_CLI_USAGE: {
    status: 400,
    title: 'The command was not understood.',
    retryable: false,
    next: 'Run `npm run pulse -- help` for every command, or `npm run pulse -- <command> --help` for its options.',
  },
  PULSE_CLI_CREDENTIAL_MISSING: {
    status: 401,
    title: 'The command needs a credential and none was found.',
    retryable: false,
    next: 'Run it in the folder of the data directory (its admin-token is used), or set PULSE_API_KEY.',
  },
  PULSE_CLI_UNREACHABLE: {
    status: 503,
    title: 'Pulse does not answer.',
    retryable: true,
    next: 'Start it with `npm start`, or name its address with --url.',
  },
  PULSE_CLI_ANSWER_UNEXPECTED: {
    status: 502,
    title: 'The answer is not one of Pulse.',
    retryable: false,
    next: 'Check --url: something else may listen there, or another version of Pulse.',
  },
  PULSE_CLI_INPUT_UNREADABLE: {
    status: 400,
    title: 'The input cannot be read.',
    retryable: false,
    next: 'Name a readable file, - for standard input, or inline JSON.',
  },
  PULSE_CLI_HOST_REFUSED: {
    status: 400,
    title: 'Load is sent to loopback addresses only.',
    retryable: false,
    next: 'Aim at 127.0.0.1; for a machine that is yours, add --i-own-this-host.',
  },
});

/** Exit codes of `pulse`. */
export const exitCode = {
  ok: 0,
  /** The request was refused, or a check found something wrong. */
  failed: 1,
  /** Unknown command, unknown option, or a value that does not fit. */
  usage: 2,
  /** Nothing answers at the address. */
  unreachable: 3,
  /** Stopped by Ctrl-C or SIGTERM. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** A mistake in the words of the command line; ends the process with exit code 2. */
export function usageError(detail: string): PulseError {
  return cliError('PULSE_CLI_USAGE', detail);
}
