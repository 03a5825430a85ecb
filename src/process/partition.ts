// What the loop knows of one raw partition while it owns it.
import { PulseError } from '../core/errors.ts';
import type { Position } from '../core/position.ts';
import type { StageOffsets } from '../database/positions.ts';
import type { TopicSet } from './topic-set.ts';

/** `running`: goes on; `waiting`: retries a batch; `stopped`: needs somebody's help. */
export type PartitionCondition = 'running' | 'waiting' | 'stopped';

/** Why a partition waits or has stopped. */
export interface PartitionProblem {
  readonly code: string;
  readonly detail: string;
}

/** One owned raw partition. Changed by the one lane that owns it. */
export interface Partition {
  readonly set: TopicSet;
  readonly partition: number;
  /** `stage_positions` as this owner knows it; the claim compares with it. */
  claimed: StageOffsets;
  /** Records at or below it were appended to valid or dead letters already. */
  routedThrough: number;
  /** Source of the last record in the valid partition. */
  previous: Position | null;
  /** Raw offset that follows the last one done. */
  nextOffset: number;
  condition: PartitionCondition;
  problem: PartitionProblem | null;
  /** Times in a row that somebody else had moved the position. */
  fences: number;
}

/** What an error says about itself. */
export function problemOf(error: unknown): PartitionProblem {
  if (error instanceof PulseError) return { code: error.code, detail: error.message };
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return { code: typeof code === 'string' ? code : 'unexpected', detail: String(error) };
}

/** Names a raw partition. */
export function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
