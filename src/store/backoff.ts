// Waiting between tries: longer each time, never for ever, ended by a signal.
import { setTimeout as sleep } from 'node:timers/promises';

const firstMs = 100;
const longestMs = 5_000;

/** How long to wait before the next try: 100 ms, doubling up to 5 s. */
export class Backoff {
  #tries = 0;

  /** Waits its turn; returns at once when the signal is given. */
  async wait(signal: AbortSignal): Promise<void> {
    const waitMs = Math.min(longestMs, firstMs * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 16);
    await pause(waitMs, signal);
  }

  reset(): void {
    this.#tries = 0;
  }
}

/** Waits; returns early, without an error, when the signal is given. */
export async function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(waitMs, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
