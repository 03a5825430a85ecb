// A minimal HTTP/1.1 client on a raw socket for load generation: keep-alive, one request in flight, no allocation for a
// plain answer. It is no general client: it reads status, Content-Length or chunked, Connection and Retry-After.
import { connect, type Socket } from 'node:net';

/** What a connection tells its owner. `connection` lets one set of functions serve all connections. */
export interface ConnectionEvents {
  /** The connection is open and free. */
  ready(connection: HttpConnection): void;
  /**
   * An answer is complete. `bytes[start..end)` is its body, valid only during the call. The connection is free again
   * unless `isOpen` says that the server closes it.
   */
  answer(connection: HttpConnection, status: number, bytes: Buffer, start: number, end: number): void;
  closed(connection: HttpConnection, end: ConnectionEnd): void;
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** An error code of the system such as ECONNRESET, or words. */
  readonly reason: string;
  /** False when it never came to be open. */
  readonly wasOpen: boolean;
  /** True when a request was left without an answer. */
  readonly hadRequest: boolean;
}

const CR = 0x0d;
const LF = 0x0a;
/** Longest answer that is read: anything longer is an error, never a growing buffer. */
const answerBytesMax = 16 * 1024 * 1024;

// All sockets read into one buffer: each callback ends before the next read begins.
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024);

/** Values of `bodyBytes` that are no length. */
const chunked = -1;
const untilClose = -2;

/** What is read from the head of an answer. */
interface Head {
  status: number;
  bodyStart: number;
  bodyBytes: number;
  close: boolean;
  retryAfterMs: number;
}

export class HttpConnection {
  readonly index: number;
  readonly #events: ConnectionEvents;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #head: Head = { status: 0, bodyStart: 0, bodyBytes: 0, close: false, retryAfterMs: 0 };
  #socket: Socket | null = null;
  #busy = false;
  #open = false;
  #wasOpen = false;
  /** Bytes of an answer that did not come whole. */
  #partial: Buffer | null = null;

  constructor(index: number, target: { host: string; port: number }, events: ConnectionEvents) {
    this.index = index;
    this.#target = target;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get isBusy(): boolean {
    return this.#busy;
  }

  /** Retry-After of the last answer in ms; 0 when it had none. */
  get retryAfterMs(): number {
    return this.#head.retryAfterMs;
  }

  open(): void {
    const socket: Socket = connect({
      host: this.#target.host,
      port: this.#target.port,
      noDelay: true,
      onread: { buffer: readBuffer, callback: (count): boolean => this.#read(socket, count) },
    });
    this.#socket = socket;
    socket.once('connect', () => {
      if (this.#socket !== socket) return;
      this.#open = true;
      this.#wasOpen = true;
      this.#events.ready(this);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => this.#lose(socket, error.code ?? error.message));
    socket.once('end', () => this.#end(socket));
    socket.once('close', () => this.#lose(socket, 'closed'));
  }

  /** Sends one request. The bytes must stay as they are until the answer. Only while open and not busy. */
  send(request: Buffer): void {
    this.#busy = true;
    (this.#socket as Socket).write(request);
  }

  /** Ends the connection; `closed` is called when it was not gone already. */
  destroy(reason: string): void {
    if (this.#socket !== null) this.#lose(this.#socket, reason);
  }

  #read(socket: Socket, count: number): boolean {
    if (this.#socket !== socket) return false;
    if (!this.#busy) {
      this.#lose(socket, 'an answer without a request');
      return false;
    }
    let bytes = readBuffer;
    let end = count;
    if (this.#partial !== null) {
      bytes = Buffer.concat([this.#partial, readBuffer.subarray(0, count)]);
      end = bytes.length;
    }
    this.#take(socket, bytes, end);
    return true;
  }

  #take(socket: Socket, bytes: Buffer, end: number): void {
    const head = this.#head;
    const state = parseHead(bytes, end, head);
    if (state === 'broken') this.#lose(socket, 'no HTTP/1.1 answer');
    else if (state === 'partial' || head.bodyBytes === untilClose) this.#keep(socket, bytes, end);
    else if (head.bodyBytes === chunked) this.#takeChunks(socket, bytes, end);
    else {
      const bodyEnd = head.bodyStart + head.bodyBytes;
      if (bodyEnd > end) this.#keep(socket, bytes, end);
      else this.#answer(socket, bytes, head.bodyStart, bodyEnd);
    }
  }

  #takeChunks(socket: Socket, bytes: Buffer, end: number): void {
    const body = parseChunks(bytes, this.#head.bodyStart, end);
    if (body === 'broken') this.#lose(socket, 'broken chunked answer');
    else if (body === 'partial') this.#keep(socket, bytes, end);
    else this.#answer(socket, body, 0, body.length);
  }

  #keep(socket: Socket, bytes: Buffer, end: number): void {
    if (end > answerBytesMax) this.#lose(socket, 'answer too long');
    else this.#partial = bytes === readBuffer ? Buffer.from(bytes.subarray(0, end)) : bytes;
  }

  #answer(socket: Socket, bytes: Buffer, start: number, end: number): void {
    this.#partial = null;
    this.#busy = false;
    const { close, status } = this.#head;
    if (close) this.#open = false;
    this.#events.answer(this, status, bytes, start, end);
    if (close) this.#lose(socket, 'the server closes the connection');
  }

  /** The server has ended its side: that completes an answer without a length. */
  #end(socket: Socket): void {
    const partial = this.#partial;
    if (this.#socket === socket && this.#busy && partial !== null && this.#head.bodyBytes === untilClose) {
      this.#head.close = true;
      this.#answer(socket, partial, this.#head.bodyStart, partial.length);
    } else this.#lose(socket, 'closed by the server');
  }

  #lose(socket: Socket, reason: string): void {
    if (this.#socket !== socket) return;
    const end = { reason, wasOpen: this.#wasOpen, hadRequest: this.#busy };
    this.#socket = null;
    this.#wasOpen = false;
    this.#partial = null;
    this.#open = false;
    this.#busy = false;
    // A late error of a socket that is given up must not become an uncaught one.
    socket.on('error', ignore);
    socket.destroy();
    this.#events.closed(this, end);
  }
}

function ignore(): void {
  // The connection was counted as lost already.
}

/** Reads the head of an answer into `head`. */
function parseHead(bytes: Buffer, end: number, head: Head): 'whole' | 'partial' | 'broken' {
  // "HTTP/1.1 202": the status is at 9 to 11.
  if (end < 12) return 'partial';
  if (bytes[0] !== 0x48 || bytes[7] !== 0x31 || bytes[8] !== 0x20) return 'broken';
  head.status =
    ((bytes[9] as number) - 48) * 100 + ((bytes[10] as number) - 48) * 10 + ((bytes[11] as number) - 48);
  head.bodyBytes = head.status === 204 || head.status === 304 ? 0 : untilClose;
  head.close = false;
  head.retryAfterMs = 0;
  let line = lineEnd(bytes, 12, end);
  while (line !== -1) {
    const start = line + 2;
    if (start + 1 < end && bytes[start] === CR && bytes[start + 1] === LF) {
      head.bodyStart = start + 2;
      // 1xx answers announce the real one.
      if (head.status < 200) return head.status < 100 ? 'broken' : 'partial';
      return 'whole';
    }
    line = lineEnd(bytes, start, end);
    if (line !== -1) readHeader(bytes, start, line, head);
  }
  return end > 64 * 1024 ? 'broken' : 'partial';
}

/** Index of the CR of the next CRLF, or −1. */
function lineEnd(bytes: Buffer, from: number, end: number): number {
  for (let i = from; i + 1 < end; i++) if (bytes[i] === CR && bytes[i + 1] === LF) return i;
  return -1;
}

/** Takes over the four headers that matter. Told apart by first letter and length before any text is made. */
function readHeader(bytes: Buffer, start: number, end: number, head: Head): void {
  const first = (bytes[start] as number) | 0x20;
  if (first === 0x63) {
    // c: content-length (14), connection (10)
    if (bytes[start + 14] === 0x3a && ((bytes[start + 8] as number) | 0x20) === 0x6c) {
      if (head.bodyBytes !== chunked) head.bodyBytes = integerAt(bytes, start + 15, end);
    } else if (bytes[start + 10] === 0x3a) {
      head.close = bytes
        .toString('latin1', start + 11, end)
        .toLowerCase()
        .includes('close');
    }
  } else if (first === 0x74 && bytes[start + 17] === 0x3a) {
    // t: transfer-encoding (17)
    if (bytes.toString('latin1', start, end).toLowerCase().includes('chunked')) head.bodyBytes = chunked;
  } else if (first === 0x72 && bytes[start + 11] === 0x3a) {
    // r: retry-after (11)
    head.retryAfterMs = integerAt(bytes, start + 12, end) * 1000;
  }
}

function integerAt(bytes: Buffer, from: number, end: number): number {
  let i = from;
  while (i < end && bytes[i] === 0x20) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (bytes[i] as number) - 48;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  return value;
}

/** The body of a chunked answer, without trailers. */
function parseChunks(bytes: Buffer, from: number, end: number): Buffer | 'partial' | 'broken' {
  const chunks: Buffer[] = [];
  let i = from;
  for (;;) {
    const line = lineEnd(bytes, i, end);
    if (line === -1) return 'partial';
    const size = Number.parseInt(bytes.toString('latin1', i, line), 16);
    if (!(size >= 0)) return 'broken';
    const start = line + 2;
    if (size === 0) {
      // Trailers end with an empty line, as the head does.
      let at = start;
      for (;;) {
        const next = lineEnd(bytes, at, end);
        if (next === -1) return 'partial';
        if (next === at) return Buffer.concat(chunks);
        at = next + 2;
      }
    }
    if (start + size + 2 > end) return 'partial';
    chunks.push(bytes.subarray(start, start + size));
    i = start + size + 2;
  }
}
