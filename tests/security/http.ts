// Plain HTTP for tests that attack: sends the path as it is given, bounds its wait, and takes a server-sent stream as answered by its head.
import { request as httpRequest, type IncomingMessage } from 'node:http';

export interface Ask {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly timeoutMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** Sends one request to `url`. Errors: rejects when the connection breaks or no answer ends within `timeoutMs` (10 s). */
export async function ask(
  url: string,
  { method, path, headers = {}, body, timeoutMs = 10_000 }: Ask,
): Promise<Answer> {
  const { hostname, port } = new URL(url);
  // Otherwise Node leaves it out where a body is unusual, and the body would be taken for a further request.
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  return await new Promise((resolve, reject) => {
    const request = httpRequest(
      { hostname, port, method, path, headers: { ...length, ...headers } },
      (response) => {
        const { statusCode: status = 0, headers: answered } = response;
        if ((answered['content-type'] ?? '').startsWith('text/event-stream')) {
          request.destroy();
          resolve({ status, headers: answered, text: '' });
          return;
        }
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status, headers: answered, text: Buffer.concat(chunks).toString() }),
        );
      },
    );
    request.setTimeout(timeoutMs, () =>
      request.destroy(new Error(`${method} ${path.slice(0, 200)}: no answer in ${timeoutMs} ms`)),
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** What is wrong with an error answer; null when it is a whole problem (RFC 9457 with code and next). */
export function problemFault({ status, headers, text }: Answer): string | null {
  if (!(headers['content-type'] ?? '').startsWith('application/problem+json')) {
    return `the content type is ${headers['content-type']}`;
  }
  const body = JSON.parse(text) as Record<string, unknown>;
  if (body['status'] !== status) return `status ${body['status']} in the body of a ${status}`;
  for (const name of ['type', 'title', 'detail', 'code', 'next', 'request_id']) {
    if (typeof body[name] !== 'string' || body[name] === '') return `${name} is missing`;
  }
  if (!/^PULSE_[A-Z0-9_]+$/.test(body['code'] as string)) return `code is ${body['code']}`;
  if (body['request_id'] !== headers['x-request-id']) return 'request_id is not that of the header';
  return null;
}
