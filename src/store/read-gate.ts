// Shares the connections for reads among tenants, so that slow searches of one keep no other, and no revocation, waiting.
import { storeError } from './errors.ts';

export interface ReadGateLimits {
  /** Reads under way at once, of all callers. */
  readonly totalMax: number;
  /** Reads under way at once, of one caller. */
  readonly callerMax: number;
  /** Reads of one caller that may wait. */
  readonly waitingMax: number;
  /** How long one read may wait. */
  readonly waitMs: number;
}

interface Waiting {
  readonly caller: string;
  readonly admit: () => void;
}

/** Admits reads: at most so many at once, and of one caller only a part of them; others wait in their order. */
export class ReadGate {
  readonly #limits: ReadGateLimits;
  readonly #running = new Map<string, number>();
  readonly #waiting: Waiting[] = [];
  #total = 0;

  constructor(limits: ReadGateLimits) {
    this.#limits = limits;
  }

  /** Runs `work` once there is room. Errors: PULSE_STORE_READS_FULL when too many wait, or for too long. */
  async run<Result>(caller: string, work: () => Promise<Result>): Promise<Result> {
    if (!this.#hasRoom(caller)) await this.#wait(caller);
    else this.#enter(caller);
    try {
      return await work();
    } finally {
      this.#leave(caller);
    }
  }

  #hasRoom(caller: string): boolean {
    const { totalMax, callerMax } = this.#limits;
    return this.#total < totalMax && (this.#running.get(caller) ?? 0) < callerMax;
  }

  #enter(caller: string): void {
    this.#total++;
    this.#running.set(caller, (this.#running.get(caller) ?? 0) + 1);
  }

  #leave(caller: string): void {
    this.#total--;
    const left = (this.#running.get(caller) ?? 1) - 1;
    if (left === 0) this.#running.delete(caller);
    else this.#running.set(caller, left);
    const index = this.#waiting.findIndex((waiting) => this.#hasRoom(waiting.caller));
    const [next] = index === -1 ? [] : this.#waiting.splice(index, 1);
    if (next === undefined) return;
    this.#enter(next.caller);
    next.admit();
  }

  async #wait(caller: string): Promise<void> {
    const { waitingMax, waitMs } = this.#limits;
    const ahead = this.#waiting.filter((waiting) => waiting.caller === caller).length;
    if (ahead >= waitingMax) throw full(`${ahead} reads of yours wait already.`);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(full(`No read of yours ended within ${waitMs} ms.`));
      }, waitMs);
      const waiting: Waiting = {
        caller,
        admit: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      this.#waiting.push(waiting);
    });
  }
}

function full(detail: string): Error {
  return storeError('PULSE_STORE_READS_FULL', detail, { retryAfterMs: 1_000 });
}
