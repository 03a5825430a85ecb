// The answer to bytes that are no HTTP request: a problem like every other, and the end of the connection.
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { uuidv7 } from '../core/ids.ts';
import { problemBody, problemHeaders } from '../core/problem.ts';
import { requestUnreadable } from './errors.ts';

/** What Node's parser says, as a status and a detail; anything else is a 400. */
const known: Readonly<Record<string, readonly [status: number, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The request line and headers are larger than 16 KiB.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request came too slowly.'],
};

/**
 * Answers a request that could not be parsed, and closes its connection: nobody knows where the next one would begin.
 * Guarantees: nothing of the request is repeated in the answer.
 */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  // Bytes behind a request that was the last one: it has its answer, and a second one would be taken for nobody's.
  const isAnswered = error.code === 'HPE_CLOSED_CONNECTION';
  if (socket.writable && !isAnswered) socket.write(clientErrorAnswer(error.code ?? ''));
  socket.destroy(error);
}

function clientErrorAnswer(code: string): string {
  const [status, detail] = known[code] ?? [400, `The bytes are no HTTP request (${code}).`];
  const problem = requestUnreadable(status, detail);
  const requestId = uuidv7(Date.now());
  const body = JSON.stringify(problemBody(problem, requestId));
  const headers = {
    ...problemHeaders(problem),
    'content-length': Buffer.byteLength(body),
    connection: 'close',
    'x-request-id': requestId,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}
