// Step: the answer. Receipts when everything is durable, a problem otherwise; built by concatenation, sent in one write.
import type { ServerResponse } from 'node:http';
import type { PulseError } from '../../core/errors.ts';
import { receiptIdPrefix } from '../../core/position.ts';
import { problemBody, problemHeaders } from '../../core/problem.ts';
import type { Exchange } from '../exchange.ts';
import type { Places } from '../idempotency.ts';
import type { SplitBody } from '../protocols/split.ts';

/** How much and how long a refused body is still read, so that its sender gets to see the answer before the end. */
const lingerBytesMax = 4 * 1_048_576;
const lingerMs = 1_000;

/** Sends 202 with the receipts of a request. */
export function answerReceipts(
  exchange: Exchange,
  split: SplitBody,
  ids: readonly string[],
  places: Places,
  isReplay: boolean,
): void {
  if (places.offsets.length !== ids.length) {
    throw new Error(`${ids.length} events stand beside ${places.offsets.length} places`);
  }
  const prefix = receiptIdPrefix(exchange.tenant?.tenantId ?? '', places.epoch);
  const body =
    exchange.path === '/events'
      ? `{"event_id":${quoted(ids[0]!)},"receipt_id":"${prefix}${places.partitions[0]}.${places.offsets[0]}"}`
      : receiptsBody(split, ids, places, prefix);
  // Written out here as well as in `commonHeaders`: an array that grows leaves its smaller copies to the collector.
  const headers = [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    'X-Request-Id',
    exchange.requestId,
    'RateLimit-Policy',
    exchange.rateLimitPolicy ?? '',
    'RateLimit',
    exchange.rateLimit ?? '',
  ];
  if (isReplay) headers.push('Idempotency-Replayed', 'true');
  send(exchange.response, 202, headers, body);
}

function receiptsBody(split: SplitBody, ids: readonly string[], places: Places, prefix: string): string {
  const { events, errors } = split;
  const beforePlace = `,"receipt_id":"${prefix}`;
  let body = `{"accepted":${events.length},"rejected":${errors.length},"receipts":[`;
  for (let i = 0; i < events.length; i++) {
    if (i > 0) body += ',';
    body += `{"index":${events[i]!.index},"event_id":${quoted(ids[i]!)}${beforePlace}${places.partitions[i]}.${places.offsets[i]}"}`;
  }
  return `${body}],"errors":${errors.length === 0 ? '[]' : JSON.stringify(errors)}}`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON escapes exactly these.
const needsEscape = /["\\\u0000-\u001f]/;

/** An event id as JSON. JSON.stringify for every id would be the dearest part of the answer to a batch. */
function quoted(id: string): string {
  return needsEscape.test(id) ? JSON.stringify(id) : `"${id}"`;
}

/** Sends a problem. `allow` is the Allow header of a 405. */
export function answerProblem(exchange: Exchange, error: PulseError, allow?: string): void {
  const { response } = exchange;
  if (response.headersSent || response.destroyed) return;
  const body = JSON.stringify(problemBody(error, exchange.requestId));
  const { 'content-type': contentType, ...others } = problemHeaders(error);
  const headers = commonHeaders(exchange, contentType ?? '', body);
  for (const name of Object.keys(others)) headers.push(name, others[name]!);
  if (allow !== undefined) headers.push('Allow', allow);
  const keeps = exchange.keepsConnection();
  if (!keeps || error.code === 'PULSE_COLLECT_DRAINING') headers.push('Connection', 'close');
  if (keeps) send(response, error.status, headers, body);
  else sendAndLinger(exchange, error.status, headers, body);
}

/** Header names and values in turn: node:http takes such an array without building an object. */
function commonHeaders(exchange: Exchange, contentType: string, body: string): string[] {
  const headers = [
    'Content-Type',
    contentType,
    'Content-Length',
    String(Buffer.byteLength(body)),
    'X-Request-Id',
    exchange.requestId,
  ];
  if (exchange.rateLimitPolicy !== null) headers.push('RateLimit-Policy', exchange.rateLimitPolicy);
  if (exchange.rateLimit !== null) headers.push('RateLimit', exchange.rateLimit);
  return headers;
}

function send(response: ServerResponse, status: number, headers: string[], body: string): void {
  if (response.destroyed || response.writableEnded) return;
  response.writeHead(status, headers);
  // Header 3 is the length in bytes: equal lengths mean ASCII, which needs no encoder.
  response.end(body, headers[3] === String(body.length) ? 'latin1' : 'utf8');
}

/**
 * Sends the whole answer at once but ends the connection only after the rest of the body was read, or after a second.
 * Closing with unread bytes makes the kernel send a reset, and the client would lose the answer that tells it why.
 */
function sendAndLinger(exchange: Exchange, status: number, headers: string[], body: string): void {
  const { request, response } = exchange;
  response.writeHead(status, headers);
  response.write(body);
  let drained = 0;
  const finish = (): void => {
    clearTimeout(timer);
    if (!response.writableEnded) response.end();
  };
  const timer = setTimeout(finish, lingerMs);
  request.on('data', (chunk: Buffer) => {
    drained += chunk.length;
    // A sender that does not listen is no longer read, but not cut off either before it had time to read the answer.
    if (drained > lingerBytesMax) request.pause();
  });
  request.on('end', finish);
  request.on('close', finish);
  request.resume();
}
