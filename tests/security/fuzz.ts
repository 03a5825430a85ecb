// Sends hostile requests to a running Pulse and judges each answer: no 5xx, no hang, no half problem, nothing internal shown.
import { performance } from 'node:perf_hooks';
import { Dice, hostileRequest, type Operation, operationsOf } from './hostile-requests.ts';
import { type Answer, ask, problemFault } from './http.ts';
import type { World } from './world.ts';

export interface FuzzReport {
  readonly sent: number;
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>;
  /** Operations that were called at least once. */
  readonly operations: number;
  readonly slowestMs: number;
  /** What was wrong, at most 50. */
  readonly faults: readonly string[];
}

const concurrency = 16;
const faultsMax = 50;

/** The operations that a running Pulse describes. */
export async function servedOperations(url: string): Promise<Operation[]> {
  return operationsOf(JSON.parse((await ask(url, { method: 'GET', path: '/openapi.json' })).text));
}

/** Sends `count` hostile requests; the same ones for the same seed and OpenAPI. */
export async function fuzz(world: World, options: { seed: number; count: number }): Promise<FuzzReport> {
  const dice = new Dice(options.seed);
  const operations = await servedOperations(world.pulse.url);
  const statuses = new Map<number, number>();
  const called = new Set<string>();
  const faults: string[] = [];
  let sent = 0;
  let slowestMs = 0;
  const one = async (): Promise<void> => {
    const request = hostileRequest(dice, operations, world);
    sent++;
    const startedMs = performance.now();
    let fault: string | null;
    try {
      const answer = await ask(world.pulse.url, request);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      called.add(`${request.method} ${request.path.split('?')[0]?.split('/').slice(0, 3).join('/')}`);
      fault = judge(request.method, answer);
    } catch (error) {
      fault = (error as Error).message;
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
    if (fault !== null && faults.length < faultsMax) faults.push(`${fault}: ${shown(request)}`);
  };
  const worker = async (): Promise<void> => {
    while (sent < options.count && faults.length < faultsMax) await one();
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { sent, statuses, operations: called.size, slowestMs, faults };
}

function judge(method: string, answer: Answer): string | null {
  const { status, text, headers } = answer;
  if (status >= 500) return `${status} ${text.slice(0, 300)}`;
  if (headers['x-injected'] !== undefined) return 'a header was injected';
  if (method === 'HEAD') return null;
  if (
    /node_modules|file:\/\/\/|\bat \w+ \(|SELECT .* FROM /.test(text) &&
    status >= 400 &&
    !text.includes('UNION SELECT')
  )
    return `internals are shown: ${text.slice(0, 300)}`;
  return status >= 400 ? problemFault(answer) : null;
}

function shown({ method, path, headers, body }: Parameters<typeof ask>[1]): string {
  const given = Object.entries(headers ?? {}).filter(
    ([name]) => name !== 'x-api-key' && name !== 'authorization',
  );
  return `${method} ${path} ${JSON.stringify(Object.fromEntries(given))} ${body === undefined ? '' : JSON.stringify(body.toString()).slice(0, 500)}`;
}
