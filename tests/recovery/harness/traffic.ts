// Clients as they are in the world: batches, repeated ids, malformed events, Idempotency-Keys, and retries of every request whose
// answer was lost. It keeps what was acknowledged; nothing else is owed.
import type { Acknowledged } from '../../auditor/checks/outcomes.ts';
import { Random } from './random.ts';

/** A tenant that traffic is sent for. */
export interface Sender {
  readonly tenantId: string;
  readonly apiKey: string;
}

interface Request {
  readonly sender: Sender;
  readonly path: '/v1/collect' | '/events';
  readonly contentType: string;
  readonly body: string;
  readonly key: string | null;
}

interface Receipt {
  readonly event_id: string;
  readonly receipt_id: string;
}

const rememberedMax = 200;

/** Traffic of some concurrent clients until `stop`. */
export class Traffic {
  readonly acknowledged: Acknowledged[] = [];
  /** Sentences on answers that broke a promise. */
  readonly broken: string[] = [];
  /** Requests that were answered with something else than 202, by status. */
  readonly refused = new Map<number, number>();
  retries = 0;
  /** Answers 503: refused now, and sent again. */
  unavailable = 0;
  replays = 0;
  readonly #url: () => string;
  readonly #senders: () => readonly Sender[];
  readonly #random: Random;
  readonly #run: string;
  #count = 0;
  #stopping = false;
  #paused = false;
  #abandoned = false;
  #clients: Promise<void>[] = [];
  /** Answered requests with a key: their repetition must name the same receipts. */
  readonly #answered: { readonly request: Request; readonly receipts: readonly Receipt[] }[] = [];
  readonly #ids: string[] = [];

  constructor(options: { url: () => string; senders: () => readonly Sender[]; seed: number; run: string }) {
    this.#url = options.url;
    this.#senders = options.senders;
    this.#random = new Random(options.seed);
    this.#run = options.run;
  }

  start(clients: number): void {
    this.#stopping = false;
    for (let i = 0; i < clients; i++) this.#clients.push(this.#client());
  }

  /** Waits until each request under way is answered; those whose answer was lost are sent again until they are. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#clients);
    this.#clients = [];
  }

  /** Ends all clients where they are: for a test that has failed. */
  abandon(): void {
    this.#stopping = true;
    this.#abandoned = true;
  }

  /** Between two runs of Pulse nobody needs to knock. */
  pause(paused: boolean): void {
    this.#paused = paused;
  }

  async #client(): Promise<void> {
    while (!this.#stopping) {
      const replay = this.#random.chance(0.1) ? this.#answered.at(-this.#random.integer(1, 50)) : undefined;
      if (replay === undefined) await this.#sendUntilAnswered(this.#make());
      else await this.#repeat(replay.request, replay.receipts);
      await pause(this.#random.integer(10, 40));
    }
  }

  async #sendUntilAnswered(request: Request): Promise<void> {
    const receipts = await this.#answerTo(request);
    if (receipts === null) return;
    for (const { event_id, receipt_id } of receipts) this.acknowledged.push({ event_id, receipt_id });
    if (request.key === null) return;
    this.#answered.push({ request, receipts });
    if (this.#answered.length > rememberedMax) this.#answered.shift();
  }

  async #repeat(request: Request, before: readonly Receipt[]): Promise<void> {
    const receipts = await this.#answerTo(request);
    if (receipts === null) return;
    this.replays++;
    if (JSON.stringify(receipts) !== JSON.stringify(before))
      this.broken.push(
        `key ${request.key} was answered with ${JSON.stringify(before[0])} and later with ${JSON.stringify(receipts[0])}`,
      );
  }

  /** Sends until there is an answer. Null for a refusal. */
  async #answerTo(request: Request): Promise<readonly Receipt[] | null> {
    for (let attempt = 0; ; attempt++) {
      while (this.#paused && !this.#abandoned) await pause(20);
      if (this.#abandoned) return null;
      const answer = await this.#send(request);
      if (answer !== null && (answer.status < 429 || answer.status === 500))
        return this.#judge(request, answer);
      this.retries++;
      if (answer?.status === 503) this.unavailable++;
      if (attempt > 1_000) throw new Error(`a request is not answered: ${JSON.stringify(answer)}`);
      await pause(Math.min(200, 20 * (attempt + 1)));
    }
  }

  #judge(request: Request, answer: { status: number; body: string }): readonly Receipt[] | null {
    const { status, body } = answer;
    if (status === 202) {
      const parsed = JSON.parse(body) as { receipts?: Receipt[] } & Receipt;
      return (parsed.receipts ?? [parsed]).map(({ event_id, receipt_id }) => ({ event_id, receipt_id }));
    }
    this.refused.set(status, (this.refused.get(status) ?? 0) + 1);
    // A request with the key of one whose first try is still held as "under way" is 409; all others here are well-formed.
    if (status === 500 || (status !== 409 && status !== 400))
      this.broken.push(`a good request (key ${request.key}) was answered ${status}: ${body.slice(0, 300)}`);
    return null;
  }

  /** Null when there was no answer. */
  async #send(request: Request): Promise<{ status: number; body: string } | null> {
    try {
      const response = await fetch(`${this.#url()}${request.path}`, {
        method: 'POST',
        headers: {
          'x-api-key': request.sender.apiKey,
          'content-type': request.contentType,
          ...(request.key === null ? {} : { 'idempotency-key': request.key }),
        },
        body: request.body,
        signal: AbortSignal.timeout(20_000),
      });
      const body = await response.text();
      return { status: response.status, body };
    } catch {
      return null; // Refused, reset or too late: nobody knows what became of it, so it is sent again.
    }
  }

  #make(): Request {
    const random = this.#random;
    const sender = random.pick(this.#senders());
    const key = random.chance(0.3) ? `${this.#run}-key-${this.#count++}` : null;
    const kind = random.next();
    const json = { sender, key, contentType: 'application/json' };
    if (kind < 0.15) return { ...json, path: '/events', body: JSON.stringify(this.#event()) };
    const events = Array.from({ length: random.integer(1, 12) }, () => this.#event());
    const path = '/v1/collect';
    if (kind < 0.3) {
      const lines = events.map((event) => JSON.stringify(event));
      return { ...json, path, contentType: 'application/x-ndjson', body: lines.join('\n') };
    }
    if (kind < 0.4) {
      const body = JSON.stringify(events.map((_, i) => this.#cloudEvent(i)));
      return { ...json, path, contentType: 'application/cloudevents-batch+json', body };
    }
    return { ...json, path, body: JSON.stringify(events) };
  }

  #event(): unknown {
    const random = this.#random;
    const event_type = random.pick(['order.created', 'page.viewed', 'order.paid']);
    const data = {
      n: this.#count,
      price: Math.round(random.next() * 1e4) / 100,
      text: 'x'.repeat(random.integer(0, 300)),
      nested: { list: [1, 'ü', null, true] },
    };
    const kind = random.next();
    // Accepted, and a dead letter: no type, a time that is none, a type that is no text.
    if (kind < 0.03) return { event_id: this.#id(), data };
    if (kind < 0.06) return { event_id: this.#id(), event_type, event_time: 'yesterday', data };
    if (kind < 0.08) return { event_id: this.#id(), event_type: 7, data };
    if (kind < 0.16 && this.#ids.length > 0) return { event_id: random.pick(this.#ids), event_type, data };
    // Without an id a lost answer makes a second event unless the request has a key: both are then owed, each once.
    if (kind < 0.2) return { event_type, data };
    return { event_id: this.#id(), event_type, event_time: new Date().toISOString(), data };
  }

  #cloudEvent(index: number): unknown {
    const id = this.#random.chance(0.1) ? 'the-same-id' : this.#id();
    return {
      specversion: '1.0',
      id,
      source: `/shop/${index % 3}`,
      type: 'order.created',
      data: { n: this.#count },
    };
  }

  #id(): string {
    const id = `${this.#run}-${this.#count++}`;
    this.#ids.push(id);
    if (this.#ids.length > rememberedMax) this.#ids.shift();
    return id;
  }
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resume) => setTimeout(resume, ms));
}
