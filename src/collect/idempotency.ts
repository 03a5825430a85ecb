// What is remembered of requests with an Idempotency-Key: not answers, but where their records went. An answer is made
// again from the repeated body and those places, so a batch of 10,000 events costs 100 kB here and not 1.3 MB.
import { collectError } from './errors.ts';

/** Where the records of one request are: the n-th accepted event is at partition `partitions[n]`, offset `offsets[n]`. */
export interface Places {
  readonly epoch: number;
  readonly partitions: ArrayLike<number>;
  readonly offsets: ArrayLike<number>;
}

/** Typed arrays beyond this many numbers; below it they are larger than plain ones. */
const plainMax = 16;

/** The same places in as little memory as they need. */
function compactPlaces(places: Places): Places {
  if (places.offsets.length <= plainMax) return places;
  return {
    epoch: places.epoch,
    partitions: Uint32Array.from(places.partitions),
    offsets: Float64Array.from(places.offsets),
  };
}

/** A remembered key. */
export interface Entry {
  readonly mapKey: string;
  /** Fingerprint of the payload. */
  readonly hash: string;
  /** When the request came, by the clock. */
  readonly startedAtMs: number;
  /**
   * pending: under way; stored: the records are durable; unknown: the append failed without saying whether the records
   * were stored.
   */
  state: 'pending' | 'stored' | 'unknown';
  /** True once any attempt ended in doubt: from then on no failure may free the key. */
  inDoubt: boolean;
  places: Places | null;
  bytes: number;
}

export interface IdempotencyLimits {
  readonly ttlMs: number;
  readonly entriesMax: number;
  readonly bytesMax: number;
}

/** What `begin` says: go on and store, or answer from these places. */
export type Begun =
  | { readonly kind: 'first'; readonly entry: Entry }
  | { readonly kind: 'replay'; readonly places: Places };

/** Bytes of an entry without its key and places: the object, two strings' headers, the map's slot. Measured, rounded up. */
const entryBytes = 320;

/**
 * The remembered keys of all tenants.
 * Guarantees: bounded in entries and bytes; beyond it the oldest keys are forgotten first, and `horizonMs` says how far
 * back the memory reaches. Forgetting early is safe: events of a keyed request have ids that follow from the key, so the
 * ledger finds their repetition; only the answer then says "accepted" where it could have said "replayed".
 * An append whose outcome is unknown keeps the key and its fingerprint: the same payload may be sent again (its events
 * get the same ids, so the ledger keeps one of each), another payload is refused.
 * Source: draft-ietf-httpapi-idempotency-key-header-07 §2.
 */
export class IdempotencyMemory {
  readonly #limits: IdempotencyLimits;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  // One iterator lives on: asking a Map for its first key again and again walks over all keys deleted before.
  #oldest: MapIterator<Entry> = this.#entries.values();
  #next: Entry | null = null;
  #horizonMs: number;

  constructor(limits: IdempotencyLimits) {
    this.#limits = limits;
    this.#horizonMs = limits.ttlMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** How long a key is remembered at the present pace: the configured time, or less when memory ran out. */
  get horizonMs(): number {
    return this.#horizonMs;
  }

  /**
   * Starts a request.
   * Errors: PULSE_COLLECT_IDEMPOTENCY_KEY_IN_PROGRESS (409), PULSE_COLLECT_IDEMPOTENCY_KEY_REUSED (422).
   */
  begin(tenantId: string, key: string, hash: string, nowMs: number): Begun {
    const mapKey = `${tenantId} ${key}`;
    const known = this.#entries.get(mapKey);
    if (known !== undefined && !this.#isExpired(known, nowMs)) return this.#meet(known, key, hash);
    if (known !== undefined) this.#delete(known);
    const entry: Entry = {
      mapKey,
      hash,
      startedAtMs: nowMs,
      state: 'pending',
      inDoubt: false,
      places: null,
      bytes: entryBytes + mapKey.length,
    };
    this.#add(entry);
    this.#evict(nowMs);
    return { kind: 'first', entry };
  }

  /** The records of the request are durable at these places. */
  stored(entry: Entry, places: Places): void {
    entry.places = compactPlaces(places);
    entry.state = 'stored';
    const bytes = places.offsets.length * 12;
    entry.bytes += bytes;
    if (this.#entries.get(entry.mapKey) === entry) this.#bytes += bytes;
    this.#evict(entry.startedAtMs);
  }

  /** The request failed and nothing of it was stored: the key is free again, unless an earlier attempt ended in doubt. */
  failed(entry: Entry): void {
    if (entry.inDoubt) entry.state = 'unknown';
    else this.#delete(entry);
  }

  /** The append failed and nobody knows whether the records are stored. */
  doubtful(entry: Entry): void {
    entry.state = 'unknown';
    entry.inDoubt = true;
  }

  /** Puts back what a start found in the log. Call in order of `startedAtMs`. */
  restore(tenantId: string, key: string, hash: string, startedAtMs: number, places: Places): void {
    const mapKey = `${tenantId} ${key}`;
    const known = this.#entries.get(mapKey);
    if (known !== undefined) this.#delete(known);
    const bytes = entryBytes + mapKey.length;
    const entry: Entry = {
      mapKey,
      hash,
      startedAtMs,
      state: 'pending',
      inDoubt: false,
      places: null,
      bytes,
    };
    this.#add(entry);
    this.stored(entry, places);
  }

  #meet(known: Entry, key: string, hash: string): Begun {
    if (known.hash !== hash) {
      throw collectError(
        'PULSE_COLLECT_IDEMPOTENCY_KEY_REUSED',
        `The key '${key}' came with another payload before.`,
      );
    }
    if (known.state === 'pending') {
      throw collectError(
        'PULSE_COLLECT_IDEMPOTENCY_KEY_IN_PROGRESS',
        `A request with the key '${key}' is under way.`,
        { retryAfterMs: 1_000 },
      );
    }
    if (known.places !== null) return { kind: 'replay', places: known.places };
    known.state = 'pending';
    return { kind: 'first', entry: known };
  }

  #isExpired(entry: Entry, nowMs: number): boolean {
    return entry.state !== 'pending' && nowMs - entry.startedAtMs >= this.#limits.ttlMs;
  }

  #add(entry: Entry): void {
    this.#entries.set(entry.mapKey, entry);
    this.#bytes += entry.bytes;
  }

  #delete(entry: Entry): void {
    if (this.#entries.get(entry.mapKey) !== entry) return;
    this.#entries.delete(entry.mapKey);
    this.#bytes -= entry.bytes;
  }

  /** Forgets what is too old, and the oldest while there is too much. Requests under way go to the end of the queue. */
  #evict(nowMs: number): void {
    for (let steps = 0; steps < 16; steps++) {
      const entry = this.#peek();
      if (entry === null) return;
      const isOver = this.#entries.size > this.#limits.entriesMax || this.#bytes > this.#limits.bytesMax;
      const isExpired = this.#isExpired(entry, nowMs);
      if (!isOver && !isExpired) return;
      this.#next = null;
      this.#delete(entry);
      if (entry.state === 'pending') this.#add(entry);
      else this.#horizonMs = isExpired ? this.#limits.ttlMs : nowMs - entry.startedAtMs;
    }
  }

  /** The oldest entry that is still remembered. */
  #peek(): Entry | null {
    while (this.#next === null || this.#entries.get(this.#next.mapKey) !== this.#next) {
      const step = this.#oldest.next();
      if (step.done) {
        this.#oldest = this.#entries.values();
        this.#next = null;
        if (this.#entries.size === 0) return null;
        continue;
      }
      this.#next = step.value;
    }
    return this.#next;
  }
}
