// Decides what each request of a run carries: fresh events, duplicates, dead letters, refusals. Deterministic by seed.
import type { LoadPlan } from './plan.ts';
import { SeededRandom } from './random.ts';
import { eventIdOf, eventJson, idPrefixOf, RequestTemplate } from './request-template.ts';
import type { Tally } from './tally.ts';

/** What an event is meant to become. */
const eventKind = { fresh: 0, duplicate: 1, deadLetter: 2 } as const;

/** Acknowledged ids that a tenant's duplicates are drawn from. */
const memoryPerTenant = 256;

/** One connection's request under way. */
export interface Slot {
  readonly template: RequestTemplate;
  /** `eventKind` of each event. */
  readonly kinds: Uint8Array;
  /** Counter of each event's id. */
  readonly counters: Float64Array;
  tenant: number;
  /** True when the request is meant to be refused with 400. */
  isRefusal: boolean;
}

export class RequestSource {
  readonly idPrefix: string;
  readonly #plan: LoadPlan;
  readonly #tally: Tally;
  readonly #random: SeededRandom;
  readonly #keyPrefix: string;
  readonly #keys: readonly Buffer[];
  readonly #acknowledged: readonly Float64Array[];
  readonly #acknowledgedCount: Float64Array;
  #nextCounter = 0;
  #nextTenant = 0;
  #time = Buffer.from(new Date().toISOString(), 'latin1');
  #timeMs = 0;

  constructor(plan: LoadPlan, tally: Tally) {
    this.#plan = plan;
    this.#tally = tally;
    this.#random = new SeededRandom(plan.seed);
    this.idPrefix = idPrefixOf(plan.seed);
    this.#keyPrefix = idPrefixOf((Math.random() * 2 ** 32) >>> 0);
    this.#keys = plan.tenants.map((tenant) => Buffer.from(tenant.apiKey, 'latin1'));
    this.#acknowledged = plan.tenants.map(() => new Float64Array(memoryPerTenant));
    this.#acknowledgedCount = new Float64Array(plan.tenants.length);
  }

  slot(index: number): Slot {
    const { plan } = { plan: this.#plan };
    const template = new RequestTemplate({
      host: new URL(plan.origin).host,
      apiKeyChars: Math.max(...this.#keys.map((key) => key.length)),
      batch: plan.batch,
      eventBytes: plan.eventBytes,
      idempotencyKeys: plan.idempotencyKeys,
      seed: plan.seed + index + 1,
      idPrefix: this.idPrefix,
      keyPrefix: this.#keyPrefix,
    });
    return {
      template,
      kinds: new Uint8Array(plan.batch),
      counters: new Float64Array(plan.batch),
      tenant: 0,
      isRefusal: false,
    };
  }

  /** The bytes of the next request, made in `slot`, which must have no request under way. `nowMs` is wall-clock time. */
  next(slot: Slot, nowMs: number): Buffer {
    const { batch, malformed, tenants } = this.#plan;
    const tally = this.#tally;
    slot.tenant = this.#nextTenant;
    this.#nextTenant = (this.#nextTenant + 1) % tenants.length;
    slot.isRefusal = malformed > 0 && this.#random.next() < malformed / 2;
    tally.sentRequests++;
    tally.sentEvents += batch;
    if (nowMs !== this.#timeMs) {
      this.#timeMs = nowMs;
      this.#time = Buffer.from(new Date(nowMs).toISOString(), 'latin1');
    }
    slot.template.setKey(this.#keys[slot.tenant] as Buffer);
    slot.template.setIdempotencyKey(this.#nextCounter);
    slot.template.setTime(this.#time);
    const deadLetters = this.#chooseEvents(slot);
    if (!slot.isRefusal && deadLetters === 0) return slot.template.bytes;
    return this.#malformed(slot);
  }

  /** Remembers the fresh events of an accepted request, so that duplicates can be made of them. */
  accepted(slot: Slot): void {
    if (this.#plan.duplicates === 0) return;
    const memory = this.#acknowledged[slot.tenant] as Float64Array;
    for (let i = 0; i < slot.counters.length; i++) {
      if (slot.kinds[i] !== eventKind.fresh) continue;
      const count = this.#acknowledgedCount[slot.tenant] as number;
      memory[count % memoryPerTenant] = slot.counters[i] as number;
      this.#acknowledgedCount[slot.tenant] = count + 1;
    }
  }

  #chooseEvents(slot: Slot): number {
    const { batch, duplicates, malformed } = this.#plan;
    const tally = this.#tally;
    if (slot.isRefusal) tally.sentRefusals++;
    let deadLetters = 0;
    for (let i = 0; i < batch; i++) {
      const chance = duplicates + malformed === 0 ? 1 : this.#random.next();
      const known = this.#acknowledgedCount[slot.tenant] as number;
      let counter = this.#nextCounter;
      let kind: number = eventKind.fresh;
      if (!slot.isRefusal && chance < malformed / 2) {
        kind = eventKind.deadLetter;
        deadLetters++;
        tally.sentDeadLetters++;
      } else if (!slot.isRefusal && known > 0 && chance >= 1 - duplicates) {
        kind = eventKind.duplicate;
        const memory = this.#acknowledged[slot.tenant] as Float64Array;
        counter = memory[this.#random.below(Math.min(known, memoryPerTenant))] as number;
        tally.sentDuplicates++;
      }
      // Every event uses a number up, so that the run's chances do not shift the ids.
      this.#nextCounter++;
      slot.kinds[i] = kind;
      slot.counters[i] = counter;
      slot.template.setEvent(i, counter);
    }
    return deadLetters;
  }

  /** A request of its own, outside the template: rare, so it may cost more. */
  #malformed(slot: Slot): Buffer {
    const { batch, eventBytes } = this.#plan;
    const time = this.#time.toString('latin1');
    const events = Array.from({ length: batch }, (_, i) => {
      const id = eventIdOf(this.idPrefix, slot.counters[i] as number);
      const event = eventJson({ id, time, bytes: eventBytes, random: this.#random });
      // A number where the type must be text: valid JSON that breaks the envelope.
      return slot.kinds[i] === eventKind.deadLetter ? event.replace('"trip_completed"', '17') : event;
    });
    const whole = batch === 1 ? (events[0] as string) : `[${events.join(',')}]`;
    // Cut before its end: no JSON at all.
    const body = slot.isRefusal ? whole.slice(0, -2) : whole;
    const template = slot.template.bytes;
    const headEnd = template.indexOf('\r\n\r\n');
    const head = template
      .toString('latin1', 0, headEnd)
      .replace(/Content-Length: \d+/, `Content-Length: ${Buffer.byteLength(body)}`);
    return Buffer.from(`${head}\r\n\r\n${body}`, 'latin1');
  }
}
