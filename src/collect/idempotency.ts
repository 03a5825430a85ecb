// What is remembered of requests with an Idempotency-Key: not answers, but where their records went. An answer is made
// again from the repeated body and those places, so a batch of 10,000 events costs 100 kB here and not 1.3 MB.
import { collectError } from './errors.ts';
import { entryState, IdempotencyTable } from './idempotency-table.ts';

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

/** A remembered request; good until `stored`, `failed` or `doubtful` is called with it. */
export type Entry = number;

export interface IdempotencyLimits {
  readonly ttlMs: number;
  readonly entriesMax: number;
  readonly bytesMax: number;
}

/** What `begin` says: go on and store, or answer from these places. */
export type Begun =
  | { readonly kind: 'first'; readonly entry: Entry }
  | { readonly kind: 'replay'; readonly places: Places };

/** Bytes of an entry without its key and further places: its row, two slots of the map, the key's header. */
const entryBytes = 160;
const placeBytes = 12;

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
  readonly #table = new IdempotencyTable();
  /** Rows by tenant and key, oldest first. */
  readonly #entries = new Map<string, Entry>();
  /** Places of requests that stored another number of records than one. */
  readonly #places = new Map<Entry, Places>();
  #bytes = 0;
  // One iterator lives on: asking a Map for its first key again and again walks over all keys deleted before.
  #oldest: MapIterator<[string, Entry]> = this.#entries.entries();
  #next: readonly [string, Entry] | null = null;
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
    const name = `${tenantId} ${key}`;
    const known = this.#entries.get(name);
    if (known !== undefined && !this.#isExpired(known, nowMs)) return this.#meet(known, key, hash);
    if (known !== undefined) this.#delete(name, known);
    const entry = this.#add(name, hash, nowMs);
    this.#evict(nowMs);
    return { kind: 'first', entry };
  }

  /** The records of the request are durable at these places. */
  stored(entry: Entry, places: Places): void {
    this.#table.setState(entry, entryState.stored);
    if (places.offsets.length === 1) {
      this.#table.setPlace(entry, places.epoch, places.partitions[0] ?? 0, places.offsets[0] ?? 0);
    } else {
      this.#places.set(entry, compactPlaces(places));
      this.#bytes += places.offsets.length * placeBytes;
    }
    this.#evict(this.#table.startedAtMs(entry));
  }

  /** The request failed and nothing of it was stored: the key is free again, unless an earlier attempt ended in doubt. */
  failed(entry: Entry): void {
    if (this.#table.isInDoubt(entry)) this.#table.setState(entry, entryState.unknown);
    else this.#delete(this.#table.name(entry), entry);
  }

  /** The append failed and nobody knows whether the records are stored. */
  doubtful(entry: Entry): void {
    this.#table.setState(entry, entryState.unknown);
    this.#table.setInDoubt(entry);
  }

  /** Puts back what a start found in the log. Call in order of `startedAtMs`. */
  restore(tenantId: string, key: string, hash: string, startedAtMs: number, places: Places): void {
    const name = `${tenantId} ${key}`;
    const known = this.#entries.get(name);
    if (known !== undefined) this.#delete(name, known);
    this.stored(this.#add(name, hash, startedAtMs), places);
  }

  #meet(known: Entry, key: string, hash: string): Begun {
    if (!this.#table.hasHash(known, hash)) {
      throw collectError(
        'PULSE_COLLECT_IDEMPOTENCY_KEY_REUSED',
        `The key '${key}' came with another payload before.`,
      );
    }
    const state = this.#table.state(known);
    if (state === entryState.pending) {
      throw collectError(
        'PULSE_COLLECT_IDEMPOTENCY_KEY_IN_PROGRESS',
        `A request with the key '${key}' is under way.`,
        { retryAfterMs: 1_000 },
      );
    }
    if (state === entryState.stored) return { kind: 'replay', places: this.#placesOf(known) };
    this.#table.setState(known, entryState.pending);
    return { kind: 'first', entry: known };
  }

  #placesOf(entry: Entry): Places {
    const many = this.#places.get(entry);
    if (many !== undefined) return many;
    const { epoch, partition, offset } = this.#table.place(entry);
    return { epoch, partitions: [partition], offsets: [offset] };
  }

  #isExpired(entry: Entry, nowMs: number): boolean {
    if (this.#table.state(entry) === entryState.pending) return false;
    return nowMs - this.#table.startedAtMs(entry) >= this.#limits.ttlMs;
  }

  #add(name: string, hash: string, nowMs: number): Entry {
    const entry = this.#table.take(name, hash, nowMs);
    this.#entries.set(name, entry);
    this.#bytes += entryBytes + name.length;
    return entry;
  }

  #delete(name: string, entry: Entry): void {
    this.#entries.delete(name);
    this.#bytes -= entryBytes + name.length;
    const many = this.#places.get(entry);
    if (many !== undefined) {
      this.#places.delete(entry);
      this.#bytes -= many.offsets.length * placeBytes;
    }
    this.#table.give(entry);
  }

  /** Forgets what is too old, and the oldest while there is too much. Requests under way go to the end of the queue. */
  #evict(nowMs: number): void {
    for (let steps = 0; steps < 16; steps++) {
      const oldest = this.#peek();
      if (oldest === null) return;
      const [name, entry] = oldest;
      const isOver = this.#entries.size > this.#limits.entriesMax || this.#bytes > this.#limits.bytesMax;
      const isExpired = this.#isExpired(entry, nowMs);
      if (!isOver && !isExpired) return;
      this.#next = null;
      if (this.#table.state(entry) === entryState.pending) {
        this.#entries.delete(name);
        this.#entries.set(name, entry);
      } else {
        this.#horizonMs = isExpired ? this.#limits.ttlMs : nowMs - this.#table.startedAtMs(entry);
        this.#delete(name, entry);
      }
    }
  }

  /** The oldest entry that is still remembered. */
  #peek(): readonly [string, Entry] | null {
    while (this.#next === null || this.#entries.get(this.#next[0]) !== this.#next[1]) {
      const step = this.#oldest.next();
      if (step.done) {
        this.#oldest = this.#entries.entries();
        this.#next = null;
        if (this.#entries.size === 0) return null;
        continue;
      }
      this.#next = step.value;
    }
    return this.#next;
  }
}
