// One named check of the auditor: what it looked at, and every breach that it found, with evidence.

/** What a check says. */
export interface CheckResult {
  readonly name: string;
  /** What holds when the check passes. */
  readonly promise: string;
  /** Things that were compared; 0 means that the check had nothing to look at. */
  readonly lookedAt: number;
  readonly breachCount: number;
  /** The first breaches, each naming tenant, position or file, what was found and what belongs there. */
  readonly breaches: readonly string[];
}

const breachesKeptMax = 20;

/** A check under way. */
export class Check {
  readonly name: string;
  readonly #promise: string;
  #lookedAt = 0;
  #breachCount = 0;
  readonly #breaches: string[] = [];

  constructor(name: string, promise: string) {
    this.name = name;
    this.#promise = promise;
  }

  looked(count = 1): void {
    this.#lookedAt += count;
  }

  breach(evidence: string): void {
    this.#breachCount++;
    if (this.#breaches.length < breachesKeptMax) this.#breaches.push(evidence);
  }

  /** Looks at one thing; a breach when `holds` is false. */
  expect(holds: boolean, evidence: () => string): void {
    this.#lookedAt++;
    if (!holds) this.breach(evidence());
  }

  result(): CheckResult {
    return {
      name: this.name,
      promise: this.#promise,
      lookedAt: this.#lookedAt,
      breachCount: this.#breachCount,
      breaches: this.#breaches,
    };
  }
}
