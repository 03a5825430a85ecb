// What a benchmark is and what it returns. `bench/main.ts` runs them by name.

export interface BenchmarkContext {
  /** Interleaved rounds; at least 3, so that a median means something on a noisy machine. */
  readonly rounds: number;
  /** Seconds of measurement in each part of a round. */
  readonly seconds: number;
  /** A line about what is going on, for whoever waits. */
  log(text: string): void;
  readonly signal: AbortSignal;
}

/** A value measured once per round. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly values: readonly number[];
}

/** A budget and what was found. */
export interface Goal {
  readonly name: string;
  readonly found: number;
  readonly wanted: number;
  readonly compare: 'at least' | 'at most';
}

export interface BenchmarkResult {
  readonly series: readonly Series[];
  readonly goals: readonly Goal[];
  /** What must be known to read the figures. */
  readonly notes: readonly string[];
}

export interface Benchmark {
  readonly name: string;
  /** Number in the budget table (B1, B2 …). */
  readonly budget: string;
  readonly summary: string;
  readonly defaults: { readonly rounds: number; readonly seconds: number };
  run(context: BenchmarkContext): Promise<BenchmarkResult>;
}

export function isMet(goal: Goal): boolean {
  return goal.compare === 'at least' ? goal.found >= goal.wanted : goal.found <= goal.wanted;
}
