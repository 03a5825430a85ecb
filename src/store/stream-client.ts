// One client of the live tail: filters what it may see, resumes where it was, and never holds more than its share.
import type { ServerResponse } from 'node:http';
import { header } from '../core/envelope.ts';
import type { EventLog, StoredRecord } from '../ports/event-log/event-log.ts';
import { tally } from './metrics.ts';
import { formatStreamId, type StreamOffsets } from './stream-id.ts';
import { type Offsets, readOn, type Tail, type TailListener } from './tail.ts';

export interface StreamClientOptions {
  readonly tail: Tail;
  readonly log: EventLog;
  readonly response: ServerResponse;
  readonly tenantIds: ReadonlySet<string>;
  /** Valid topics that may hold events of these tenants. */
  readonly topics: ReadonlySet<string>;
  /** Null for every type. */
  readonly eventTypes: ReadonlySet<string> | null;
  /** Where the client was when it was cut off; null to begin at the end. */
  readonly resume: StreamOffsets | null;
  readonly bufferBytesMax: number;
}

/** Sends server-sent events until closed. */
export class StreamClient implements TailListener {
  readonly #options: StreamClientOptions;
  /** Next offset of each partition that this client still needs. */
  readonly #next = new Map<string, number[]>();
  /** Partitions that still read history by themselves. */
  readonly #behind = new Set<string>();
  #dropped = 0;
  #closed = false;

  constructor(options: StreamClientOptions) {
    this.#options = options;
  }

  /** Joins the tail, then sends what came between the resumed place and now. */
  async start(): Promise<void> {
    await this.#options.tail.listen(this);
    for (const [topic, next] of [...this.#next]) {
      for (let partition = 0; partition < next.length; partition++)
        await this.#catchUp(topic, partition, next);
    }
  }

  begin(offsets: Offsets): void {
    const { topics, resume } = this.#options;
    for (const [topic, ends] of offsets) {
      if (!topics.has(topic)) continue;
      const wanted = resume?.get(topic) ?? [];
      const next = ends.map((end, partition) => Math.min(wanted[partition] ?? end, end));
      this.#next.set(topic, next);
      next.forEach((offset, partition) => {
        if (offset < (ends[partition] as number)) this.#behind.add(`${topic}/${partition}`);
      });
    }
    this.#write(`retry: 1000\nid: ${formatStreamId(this.#next)}\n\n`);
  }

  /** A comment that keeps proxies from closing a quiet stream; also tells of what was dropped meanwhile. */
  heartbeat(): void {
    this.#tellDropped();
    this.#write(': alive\n\n');
  }

  /** Leaves the tail and ends the answer. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.tail.leave(this);
    this.#options.response.end();
  }

  take(topic: string, partition: number, records: readonly StoredRecord[]): void {
    // While a partition catches up, its live records come by the way of catching up.
    if (!this.#options.topics.has(topic) || this.#behind.has(`${topic}/${partition}`)) return;
    this.#send(records, this.#nextOf(topic, partition), partition, true);
  }

  skip(topic: string, partition: number, next: number): void {
    if (!this.#options.topics.has(topic) || this.#behind.has(`${topic}/${partition}`)) return;
    this.#skip(this.#nextOf(topic, partition), partition, next);
  }

  /** Reads from the log by itself until it has met the tail. History waits for the client, unlike live events. */
  async #catchUp(topic: string, partition: number, next: number[]): Promise<void> {
    const { tail, log, response } = this.#options;
    while (!this.#closed && (next[partition] as number) < tail.next(topic, partition)) {
      const result = await readOn(log, topic, partition, next[partition] as number);
      if (result.kind === 'lost') this.#skip(next, partition, result.next);
      else if (result.records.length === 0) break;
      else this.#send(result.records, next, partition, false);
      if (response.writableNeedDrain && !response.destroyed) await drained(response);
    }
    this.#behind.delete(`${topic}/${partition}`);
  }

  #send(records: readonly StoredRecord[], next: number[], partition: number, isLive: boolean): void {
    const { response, bufferBytesMax } = this.#options;
    for (const record of records) {
      if (record.offset < (next[partition] as number)) continue;
      next[partition] = record.offset + 1;
      if (!this.#wants(record)) continue;
      if (isLive && response.writableLength > bufferBytesMax) {
        this.#dropped++;
        tally.streamDropped++;
        continue;
      }
      this.#tellDropped();
      tally.streamSent++;
      this.#write(`id: ${formatStreamId(this.#next)}\ndata: ${dataOf(record)}\n\n`);
    }
  }

  #skip(next: number[], partition: number, to: number): void {
    const lost = to - (next[partition] as number);
    if (lost <= 0) return;
    next[partition] = to;
    this.#write(`event: lost\ndata: {"records":${lost}}\n\n`);
  }

  #wants(record: StoredRecord): boolean {
    const { tenantIds, eventTypes } = this.#options;
    if (!tenantIds.has(record.headers[header.tenant] ?? '')) return false;
    return eventTypes === null || eventTypes.has(record.headers[header.type] ?? '');
  }

  #nextOf(topic: string, partition: number): number[] {
    let next = this.#next.get(topic);
    if (next === undefined) {
      next = [];
      this.#next.set(topic, next);
    }
    // A topic that came after this client is taken from its first record on.
    while (next.length <= partition) next.push(0);
    return next;
  }

  #tellDropped(): void {
    if (this.#dropped === 0 || this.#options.response.writableLength > this.#options.bufferBytesMax) return;
    const events = this.#dropped;
    this.#dropped = 0;
    this.#write(`event: dropped\ndata: {"events":${events}}\n\n`);
  }

  #write(text: string): void {
    if (!this.#closed && !this.#options.response.destroyed) this.#options.response.write(text);
  }
}

/** The envelope as the data of a server-sent event: its line breaks, which JSON allows between tokens, begin new data lines. */
function dataOf(record: StoredRecord): string {
  const text = record.value.toString('utf8');
  return /[\r\n]/.test(text) ? text.replaceAll(/\r\n|\r|\n/g, '\ndata: ') : text;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
