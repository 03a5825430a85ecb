// Step: the bytes of the body, within limits of size and time.
import { ClientGone, collectError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Gate } from '../gate.ts';

/** Errors: PULSE_COLLECT_BODY_TOO_LARGE when the declared length is over the limit; nothing of the body is read then. */
export function checkLength(exchange: Exchange, bytesMax: number): void {
  const declared = exchange.declaredBytes();
  if (declared !== null && declared > bytesMax) throw bodyTooLarge(declared, bytesMax);
}

export function bodyTooLarge(bytes: number, bytesMax: number): Error {
  return collectError(
    'PULSE_COLLECT_BODY_TOO_LARGE',
    `The body has ${bytes} bytes or more; ${bytesMax} are allowed.`,
  );
}

interface Reading {
  readonly exchange: Exchange;
  readonly fail: (error: Error) => void;
}

/** Reads bodies, and gives up on those that take too long. One timer looks after all of them. */
export class BodyReader {
  readonly #gate: Gate;
  readonly #timeoutMs: number;
  readonly #reading = new Set<Reading>();
  readonly #timer: NodeJS.Timeout;

  constructor(gate: Gate, timeoutMs: number) {
    this.#gate = gate;
    this.#timeoutMs = timeoutMs;
    this.#timer = setInterval(() => this.#giveUp(), Math.min(1_000, Math.ceil(timeoutMs / 4)));
    this.#timer.unref();
  }

  /**
   * The whole body. Its bytes are taken from the gate: declared ones before the first arrives, others as they come.
   * Errors: PULSE_COLLECT_BODY_TOO_LARGE, _BODY_TIMEOUT, _OVERLOADED; ClientGone when the connection broke.
   */
  read(exchange: Exchange, bytesMax: number): Promise<Buffer> {
    const declared = exchange.declaredBytes() ?? 0;
    this.#gate.reserve(declared);
    exchange.reservedBytes = declared;
    const { request } = exchange;
    return new Promise((resolve, reject) => {
      let first: Buffer | null = null;
      let chunks: Buffer[] | null = null;
      let bytes = 0;
      let done = false;
      const fail = (error: Error): void => {
        if (done) return;
        done = true;
        this.#reading.delete(reading);
        reject(error);
      };
      const reading: Reading = { exchange, fail };
      this.#reading.add(reading);
      request.on('data', (chunk: Buffer) => {
        if (done) return;
        bytes += chunk.length;
        if (bytes > bytesMax) return fail(bodyTooLarge(bytes, bytesMax));
        if (bytes > exchange.reservedBytes && !this.#reserveMore(exchange, bytes, fail)) return;
        // Nearly every body arrives in one piece, which is then used as it is.
        if (first === null) first = chunk;
        else if (chunks === null) chunks = [first, chunk];
        else chunks.push(chunk);
      });
      request.on('end', () => {
        if (done) return;
        done = true;
        this.#reading.delete(reading);
        resolve(chunks !== null ? Buffer.concat(chunks, bytes) : (first ?? Buffer.alloc(0)));
      });
      // Every request ends with 'close'; the error, whose stack is dear, is made only for those cut short.
      request.on('close', () => {
        if (!done) fail(new ClientGone('the connection broke before the body was complete'));
      });
    });
  }

  /** Stops looking after slow bodies; those under way still end with their connections. */
  close(): void {
    clearInterval(this.#timer);
  }

  #reserveMore(exchange: Exchange, bytes: number, fail: (error: Error) => void): boolean {
    try {
      this.#gate.reserve(bytes - exchange.reservedBytes);
      exchange.reservedBytes = bytes;
      return true;
    } catch (error) {
      fail(error as Error);
      return false;
    }
  }

  #giveUp(): void {
    const before = performance.now() - this.#timeoutMs;
    // A Set keeps the order of arrival, so the first that is young enough ends the search.
    for (const reading of this.#reading) {
      if (reading.exchange.startedMs > before) return;
      reading.fail(
        collectError('PULSE_COLLECT_BODY_TIMEOUT', `The body was not complete after ${this.#timeoutMs} ms.`),
      );
    }
  }
}
