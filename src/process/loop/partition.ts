// What a loop knows of one partition of its input topic while it owns it.
import { PulseError } from '../../core/errors.ts';
import type { StageOffsets } from '../../database/positions.ts';
import type { StoredRecord } from '../../ports/event-log/event-log.ts';

/** An input topic as the loop needs it. */
export interface Source {
  readonly topic: string;
  /** Epoch under which its positions are kept. */
  readonly epoch: number;
  /** The input topic and all others whose damage stops its partitions. */
  readonly topics: readonly string[];
}

/** `running`: goes on; `waiting`: retries a batch; `stopped`: needs somebody's help. */
export type PartitionCondition = 'running' | 'waiting' | 'stopped';

/** Why a partition waits or has stopped. */
export interface PartitionProblem {
  readonly code: string;
  readonly detail: string;
}

/** One owned partition. Changed by the one lane that owns it and the task that does its batches. */
export interface Partition<From extends Source, State> {
  readonly source: From;
  readonly partition: number;
  /** `stage_positions` as this owner knows it; the task's transaction compares with it. */
  position: StageOffsets;
  /** What the task keeps beside it. */
  state: State;
  /** Offset that follows the last one done. */
  nextOffset: number;
  condition: PartitionCondition;
  problem: PartitionProblem | null;
  /** Times in a row that somebody else had moved the position. */
  fences: number;
}

/** Records of one partition that are to be done; in order, at least one. */
export interface Work<From extends Source, State> {
  readonly partition: Partition<From, State>;
  readonly records: readonly StoredRecord[];
  /** Offset that follows the work. */
  readonly nextOffset: number;
}

/** Where a partition stands, before the task has looked. */
export interface Whereabouts<From extends Source> {
  readonly source: From;
  readonly partition: number;
  readonly position: StageOffsets;
  /** Committed offset of the group. */
  readonly hint: number;
  /** Offset that the input topic gives to its next record. */
  readonly end: number;
}

/** What a loop does; the loop itself only reads, retries and remembers. */
export interface Task<From extends Source, State> {
  /** Name in `stage_positions` and `stage_errors`; the consumer group has the same. */
  readonly stage: string;
  /**
   * Finds where a partition goes on, after a start and after every failed batch.
   * Errors: errors that are not retryable stop this partition alone.
   */
  locate(found: Whereabouts<From>): Promise<{ readonly startOffset: number; readonly state: State }>;
  /**
   * Does the works and moves their `position` and `state`; may be called again for the same works after an error, once
   * `locate` was asked anew.
   */
  doBatch(works: readonly Work<From, State>[]): Promise<void>;
  /** Told of every failed try. */
  onRetry(): void;
}

/** What an error says about itself. */
export function problemOf(error: unknown): PartitionProblem {
  if (error instanceof PulseError) return { code: error.code, detail: error.message };
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return { code: typeof code === 'string' ? code : 'unexpected', detail: String(error) };
}
