// Errors of the composition root: what can go wrong before or around the stages.
import { defineErrors, PulseError } from '../core/errors.ts';

export const serverError = defineErrors({
  PULSE_SERVER_PORT_IN_USE: {
    status: 500,
    title: 'Another program listens on the port.',
    retryable: false,
    next: 'Stop that program, or choose another port: PULSE_PORT=8081 npm start.',
  },
  PULSE_SERVER_DATA_DIRECTORY_IN_USE: {
    status: 500,
    title: 'Another Pulse runs on this data directory.',
    retryable: false,
    next: 'Stop it, or give this one its own: PULSE_DATA_DIR=./data2 PULSE_PORT=8081 npm start.',
  },
  PULSE_SERVER_DATA_DIRECTORY_VERSION: {
    status: 500,
    title: 'The data directory was made by another version of Pulse.',
    retryable: false,
    next: 'Start the version that made it, or choose another PULSE_DATA_DIR.',
  },
  PULSE_SERVER_DATA_DIRECTORY_UNUSABLE: {
    status: 500,
    title: 'The data directory cannot be used.',
    retryable: false,
    next: 'Make the folder writable for this user, or choose another PULSE_DATA_DIR.',
  },
  PULSE_SERVER_NODE_TOO_OLD: {
    status: 500,
    title: 'This Node.js is too old for Pulse.',
    retryable: false,
    next: 'Start through npm (npm start brings Node 26 on Linux, macOS arm64 and Windows x64), or install Node 24 or newer.',
  },
  PULSE_SERVER_CHILD_FAILED: {
    status: 500,
    title: 'A part of Pulse did not start.',
    retryable: true,
    next: 'Read the log lines above; `npm run pulse -- doctor` checks the set-up.',
  },
  PULSE_ROUTE_UNKNOWN: {
    status: 404,
    title: 'There is no such route.',
    retryable: false,
    next: 'GET /openapi.json lists every route; /docs shows them.',
  },
  PULSE_REQUEST_INVALID: {
    status: 400,
    title: 'The request does not fit the route.',
    retryable: false,
    next: 'Mend the fields that `errors` names; /docs shows what the route takes.',
  },
});

/** PULSE_REQUEST_INVALID with the status that fits: for a request that is refused before a route has seen it. */
export function requestUnreadable(status: number, detail: string): PulseError {
  const definition = {
    status,
    title: 'The request cannot be read.',
    retryable: false,
    next: 'Mend the request as the detail says.',
  };
  return new PulseError('PULSE_REQUEST_INVALID', definition, detail);
}
