// The rows of the idempotency memory as columns of numbers outside the garbage-collected heap. As objects, some 200,000
// entries that live for seconds and then die cost more time in the collector than everything else in collect together.

/** What became of a remembered request. */
export const entryState = { pending: 1, stored: 2, unknown: 3 } as const;
export type EntryState = (typeof entryState)[keyof typeof entryState];

/** Length of a fingerprint: SHA-256 as base64url. */
const hashChars = 43;
const firstRows = 1_024;

/** Rows that are taken and given back; a row number is good until it is given back. */
export class IdempotencyTable {
  /** Name of each row; null while it is free. */
  #names: (string | null)[] = [];
  #free: number[] = [];
  #capacity = 0;
  #states = new Uint8Array(0);
  #doubts = new Uint8Array(0);
  #startedAtMs = new Float64Array(0);
  #epochs = new Float64Array(0);
  #partitions = new Uint32Array(0);
  #offsets = new Float64Array(0);
  #hashes = Buffer.alloc(0);

  /** A pending row without doubt. */
  take(name: string, hash: string, startedAtMs: number): number {
    const row = this.#free.pop() ?? this.#grown();
    this.#names[row] = name;
    this.#states[row] = entryState.pending;
    this.#doubts[row] = 0;
    this.#startedAtMs[row] = startedAtMs;
    this.#hashes.write(fixed(hash), row * hashChars, 'latin1');
    return row;
  }

  give(row: number): void {
    this.#names[row] = null;
    this.#free.push(row);
  }

  name(row: number): string {
    return this.#names[row] ?? '';
  }

  hasHash(row: number, hash: string): boolean {
    return this.#hashes.toString('latin1', row * hashChars, (row + 1) * hashChars) === fixed(hash);
  }

  state(row: number): EntryState {
    return this.#states[row] as EntryState;
  }

  setState(row: number, state: EntryState): void {
    this.#states[row] = state;
  }

  isInDoubt(row: number): boolean {
    return this.#doubts[row] === 1;
  }

  setInDoubt(row: number): void {
    this.#doubts[row] = 1;
  }

  startedAtMs(row: number): number {
    return this.#startedAtMs[row] as number;
  }

  /** Where the one record of the request is. */
  setPlace(row: number, epoch: number, partition: number, offset: number): void {
    this.#epochs[row] = epoch;
    this.#partitions[row] = partition;
    this.#offsets[row] = offset;
  }

  place(row: number): { readonly epoch: number; readonly partition: number; readonly offset: number } {
    return {
      epoch: this.#epochs[row] as number,
      partition: this.#partitions[row] as number,
      offset: this.#offsets[row] as number,
    };
  }

  /** The first of twice as many rows. */
  #grown(): number {
    const before = this.#capacity;
    const capacity = Math.max(firstRows, before * 2);
    this.#states = copied(new Uint8Array(capacity), this.#states);
    this.#doubts = copied(new Uint8Array(capacity), this.#doubts);
    this.#startedAtMs = copied(new Float64Array(capacity), this.#startedAtMs);
    this.#epochs = copied(new Float64Array(capacity), this.#epochs);
    this.#partitions = copied(new Uint32Array(capacity), this.#partitions);
    this.#offsets = copied(new Float64Array(capacity), this.#offsets);
    this.#hashes = copied(Buffer.alloc(capacity * hashChars), this.#hashes);
    for (let row = capacity - 1; row > before; row--) this.#free.push(row);
    this.#capacity = capacity;
    return before;
  }
}

function fixed(hash: string): string {
  return hash.length === hashChars ? hash : hash.slice(0, hashChars).padEnd(hashChars);
}

function copied<Column extends { set(values: ArrayLike<number>): void }>(
  larger: Column,
  values: ArrayLike<number>,
): Column {
  larger.set(values);
  return larger;
}
