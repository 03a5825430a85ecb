// The public HTTP API as the command line sees it. Knows no route: commands name them.
import { cliError } from './errors.ts';

/** A refusal of the API: an RFC 9457 problem, or whatever came instead of one. */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly next: string | null;
  readonly requestId: string | null;
  /** The whole problem as the server sent it. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    const text = (name: string): string | null =>
      typeof problem[name] === 'string' ? (problem[name] as string) : null;
    super(text('detail') ?? text('message') ?? `The server answered ${status}.`);
    this.name = 'ApiProblem';
    this.status = status;
    this.code = text('code') ?? `HTTP_${status}`;
    this.title = text('title') ?? 'The request was refused.';
    this.next = text('next');
    this.requestId = text('request_id');
    this.problem = problem;
  }
}

export interface ApiOptions {
  /** Origin, for example http://127.0.0.1:8080. */
  readonly origin: string;
  /** Sent as a bearer token; null for routes that need none. */
  readonly credential: string | null;
  readonly signal: AbortSignal;
  /** Longest wait for one answer in ms; streams are not bound by it. */
  readonly timeoutMs?: number;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, with `contentType`. */
  readonly bytes?: Uint8Array;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses above 399 that are answers, not errors. */
  readonly alsoOk?: readonly number[];
}

/** One JSON object of the API. */
export type Json = Readonly<Record<string, unknown>>;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json;
}

const answerTimeoutMs = 30_000;

/** Calls the API with one credential. */
export class Api {
  readonly origin: string;
  readonly #options: ApiOptions;

  constructor(options: ApiOptions) {
    this.origin = options.origin;
    this.#options = options;
  }

  /**
   * One request, one JSON object.
   * Errors: ApiProblem for a status above 399; PULSE_CLI_UNREACHABLE; PULSE_CLI_ANSWER_UNEXPECTED for a body that is no JSON object.
   */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const timeout = AbortSignal.timeout(this.#options.timeoutMs ?? answerTimeoutMs);
    const response = await this.#send(
      method,
      path,
      options,
      AbortSignal.any([this.#options.signal, timeout]),
    );
    const body = await readJson(response);
    if (response.status >= 400 && options.alsoOk?.includes(response.status) !== true) {
      throw new ApiProblem(response.status, body ?? {});
    }
    if (body === null) {
      throw cliError('PULSE_CLI_ANSWER_UNEXPECTED', `${method} ${path} answered no JSON object.`);
    }
    return { status: response.status, headers: response.headers, body };
  }

  async get(path: string, query: Query = {}): Promise<Json> {
    return (await this.request('GET', path, { query })).body;
  }

  /**
   * Opens a server-sent event stream and yields the parsed `data` of each event until the server or the signal ends it.
   * Comments and heartbeats are passed over.
   */
  async *stream(path: string, query: Query = {}): AsyncGenerator<{ event: string; data: Json }> {
    const headers = { accept: 'text/event-stream' };
    const response = await this.#send('GET', path, { query, headers }, this.#options.signal);
    if (response.status >= 400) throw new ApiProblem(response.status, (await readJson(response)) ?? {});
    if (response.body === null) return;
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const event = parseServerSentEvent(block);
        if (event !== null) yield event;
      }
    }
  }

  async #send(method: string, path: string, options: RequestOptions, signal: AbortSignal): Promise<Response> {
    const url = new URL(path, this.origin);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
    if (this.#options.credential !== null) headers['authorization'] = `Bearer ${this.#options.credential}`;
    if (options.body !== undefined) headers['content-type'] = 'application/json';
    if (options.contentType !== undefined) headers['content-type'] = options.contentType;
    const body = options.bytes ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    try {
      return await fetch(url, {
        method,
        headers,
        signal,
        ...(body === undefined ? {} : { body: body as NonNullable<RequestInit['body']> }),
      });
    } catch (error) {
      if (this.#options.signal.aborted) throw error;
      throw cliError('PULSE_CLI_UNREACHABLE', `${this.origin} cannot be reached: ${causeOf(error)}.`, {
        cause: error,
      });
    }
  }
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  if (error.name === 'TimeoutError') return 'no answer in time';
  return cause?.code ?? cause?.message ?? error.message;
}

async function readJson(response: Response): Promise<Json | null> {
  const text = await response.text();
  if (text === '') return {};
  try {
    const value = parseExactly(text);
    return typeof value === 'object' && value !== null ? (value as Json) : null;
  } catch {
    // A proxy's HTML page, for example: the caller says so with the status.
    return response.status >= 400 ? { detail: text.slice(0, 500) } : null;
  }
}

/**
 * JSON whose numbers come out again as they were written: those that JavaScript cannot hold stay text inside (rawJSON), so
 * that 9007199254740993 is never shown as …992.
 */
function parseExactly(text: string): unknown {
  return JSON.parse(text, (_, value: unknown, { source }: { source?: string } = {}) =>
    typeof value === 'number' && source !== undefined && source !== String(value) ? rawJson(source) : value,
  );
}

// ES2026; the type library of TypeScript 7.0 lacks it.
const rawJson = (JSON as JSON & { rawJSON(text: string): unknown }).rawJSON;

/** One block of a text/event-stream; null for comments and blocks without JSON data. */
function parseServerSentEvent(block: string): { event: string; data: Json } | null {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('event:')) event = line.slice(6).trim();
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  if (data.length === 0) return null;
  try {
    return { event, data: parseExactly(data.join('\n')) as Json };
  } catch {
    return { event, data: { text: data.join('\n') } };
  }
}
