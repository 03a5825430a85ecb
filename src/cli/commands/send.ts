// `pulse send`: sends events from a file, standard input or the command line, and prints their receipts.

import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { ApiProblem, type Json } from '../api.ts';
import type { Command, CommandContext } from '../command.ts';
import { cliError, type ExitCode, exitCode } from '../errors.ts';
import { pollUntil, readReceipt, rowsOf } from '../lists.ts';
import { formatTable } from '../output.ts';

/** Largest request of /v1/collect. */
const inputBytesMax = 10 * 1024 * 1024;
const waitPollMs = 200;
/** Receipts that --wait asks for, at most: it is a tool for people, not for bulk. */
const waitReceiptsMax = 1_000;

export const sendCommand: Command = {
  name: 'send',
  summary: 'Send events; prints a receipt for each.',
  usage: ['send \'{"event_type":"order.created","data":{}}\'', 'send FILE', 'send - < FILE'],
  notes: [
    'FILE holds one event, an array, {"events":[…]}, or one event a line (.ndjson, .jsonl, or --ndjson).',
    'Exit code 1 when an event was refused, or with --wait when one was not stored.',
  ],
  options: {
    ndjson: { type: 'boolean', help: 'The input has one event a line.' },
    wait: { type: 'boolean', help: 'Wait until each event is stored, a duplicate, or a dead letter.' },
    timeout: { type: 'string', value: 'S', help: 'Longest wait in seconds; 30 unless told.' },
    'idempotency-key': { type: 'string', value: 'KEY', help: 'Idempotency-Key; a random one unless told.' },
  },
  positionals: { min: 1, max: 1 },
  async run(context) {
    const word = context.positionals[0] as string;
    const bytes = await readInput(word);
    const isLines = context.options.flag('ndjson') || /\.(ndjson|jsonl)$/.test(word) || looksLikeLines(bytes);
    const answer = await context.api().request('POST', '/v1/collect', {
      bytes,
      contentType: isLines ? 'application/x-ndjson' : 'application/json',
      headers: { 'idempotency-key': context.options.text('idempotency-key') ?? randomUUID() },
    });
    return await report(context, answer.body);
  },
};

async function report(context: CommandContext, body: Json): Promise<ExitCode> {
  const receipts = rowsOf(body, 'receipts');
  const errors = rowsOf(body, 'errors');
  const waits = context.options.flag('wait');
  const states = waits ? await waitForAll(context, receipts) : null;
  const rows = receipts.map(
    (receipt) => ({ ...receipt, ...states?.get(String(receipt['receipt_id'])) }) as Json,
  );
  context.print({ ...body, receipts: rows }, () =>
    [
      formatTable(
        rows,
        [
          { title: 'INDEX', value: (row) => row['index'], align: 'right' },
          { title: 'EVENT', value: (row) => row['event_id'] },
          { title: 'RECEIPT', value: (row) => row['receipt_id'] },
          ...(waits ? [{ title: 'STATE', value: (row: Json) => row['state'] }] : []),
        ],
        context.terminal.columns,
      ),
      ...errors.map(
        (error) =>
          `refused: event ${String(error['index'])}: ${String(error['code'])} ${String(error['detail'])}`,
      ),
    ].join('\n'),
  );
  const settled = !waits || rows.every((row) => row['state'] === 'stored' || row['state'] === 'duplicate');
  return errors.length === 0 && settled ? exitCode.ok : exitCode.failed;
}

async function waitForAll(context: CommandContext, receipts: readonly Json[]): Promise<Map<string, Json>> {
  const api = context.api();
  const timeoutMs = 1000 * context.options.number('timeout', { defaultValue: 30, min: 1, max: 3_600 });
  const deadline = performance.now() + timeoutMs;
  const states = new Map<string, Json>();
  for (const receipt of receipts.slice(0, waitReceiptsMax)) {
    const receiptId = String(receipt['receipt_id']);
    let last: Json = { state: 'in_flight' };
    await pollUntil({
      everyMs: waitPollMs,
      timeoutMs: Math.max(0, deadline - performance.now()),
      signal: context.signal,
      done: async () => {
        last = await readReceipt(api, receiptId).catch((error: unknown) => {
          // A key with the scope `ingest` alone may send and not read; say so instead of waiting for nothing.
          if (error instanceof ApiProblem && error.status === 404) return last;
          throw error;
        });
        return last['state'] === 'in_flight' ? null : last;
      },
    });
    states.set(receiptId, last);
  }
  return states;
}

async function readInput(word: string): Promise<Buffer> {
  if (word === '-') return await readStandardInput();
  if (/^\s*[[{]/.test(word)) return Buffer.from(word);
  try {
    const { size } = statSync(word);
    if (size > inputBytesMax) throw tooLarge(word, size);
    return readFileSync(word);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code?.startsWith('PULSE_')) throw error;
    throw cliError('PULSE_CLI_INPUT_UNREADABLE', `'${word}' cannot be read: ${code ?? String(error)}.`, {
      cause: error,
    });
  }
}

async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    size += (chunk as Buffer).length;
    if (size > inputBytesMax) throw tooLarge('standard input', size);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function tooLarge(name: string, size: number): Error {
  const detail = `${name} has ${size} bytes or more; one request takes ${inputBytesMax}.`;
  return cliError('PULSE_CLI_INPUT_UNREADABLE', `${detail} Send it in pieces.`);
}

/** Several JSON objects, one a line: the first line alone is a whole object. */
function looksLikeLines(bytes: Buffer): boolean {
  const lineEnd = bytes.indexOf(0x0a);
  if (lineEnd === -1 || lineEnd > 1024 * 1024 || bytes.subarray(lineEnd).toString('utf8').trim() === '')
    return false;
  try {
    JSON.parse(bytes.toString('utf8', 0, lineEnd));
    return true;
  } catch {
    return false; // the first line is the start of something longer
  }
}
