// Work that is repeated with pauses until it is stopped.
import { setTimeout as sleep } from 'node:timers/promises';

export interface Repeater {
  start(): void;
  /** Waits for the round under way. Safe to call twice. */
  stop(): Promise<void>;
}

/** Repeats `work`, the first time after one interval. Guarantees: rounds never overlap; an error never ends the repetition. */
export function createRepeater(options: {
  readonly intervalMs: number;
  readonly work: (signal: AbortSignal) => Promise<unknown>;
  readonly onError: (error: unknown) => void;
}): Repeater {
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  const repeat = async (): Promise<void> => {
    const { signal } = stopping;
    while (!signal.aborted) {
      await sleep(options.intervalMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await options.work(signal).catch(options.onError);
    }
  };
  return {
    start: () => {
      running ??= repeat();
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}
