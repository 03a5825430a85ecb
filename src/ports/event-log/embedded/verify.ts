// Reads every byte of a log and says what is whole and what is not. Needs no lock and changes nothing.
// Beside a running writer it judges what was published when it began.
import { join } from 'node:path';
import { hasCode } from '../../../core/errors.ts';
import { type FileSystem, isFileError, nodeFileSystem } from './file-system.ts';
import type { GroupView } from './group-codec.ts';
import { listGroups, readGroupOffsets } from './group-files.ts';
import { recordBytesAt, recordOffsetDeltaAt, recordPartitionAt } from './record-codec.ts';
import { readHeadFile, readJournal, readSegments, type UnfinishedGroup } from './recovery.ts';
import { SegmentScanner } from './segment-scanner.ts';
import {
  corrupt,
  headName,
  type PublishedEnd,
  readTopic,
  type SegmentHeader,
  segmentName,
  type TopicDescription,
  topicsDirectory,
} from './topic-files.ts';

/** A place where something is wrong. */
interface Problem {
  /** `unfinished`: a last group that was never acknowledged and is cut off at the next start. `corrupt`: damage. */
  readonly kind: 'unfinished' | 'corrupt';
  readonly file: string;
  readonly byte: number;
  readonly message: string;
}

/** What was found in one topic. */
export interface TopicReport {
  readonly topic: string;
  readonly incarnation: string;
  readonly segments: number;
  readonly groups: number;
  /** Records of each partition, and the offsets they span. */
  readonly partitions: readonly {
    readonly earliest: number;
    readonly end: number;
    readonly records: number;
  }[];
  readonly firstAppendTimeMs: number | null;
  readonly lastAppendTimeMs: number | null;
  readonly problem: Problem | null;
}

/** What was found in one consumer group. */
interface GroupReport {
  readonly group: string;
  /** Null when nothing readable was committed. */
  readonly committed: Readonly<Record<string, readonly (number | null)[]>> | null;
}

/** What was found in a log. */
export interface LogReport {
  readonly topics: readonly TopicReport[];
  readonly groups: readonly GroupReport[];
}

/**
 * Checks every group of every topic: checksum, sequence, continuity of offsets, lengths of records.
 * Errors: PULSE_LOG_FORMAT_UNKNOWN; damage is reported, not thrown.
 */
export async function verifyLog(
  directory: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<LogReport> {
  const names = await fileSystem
    .list(topicsDirectory(directory))
    .catch((error: unknown): readonly string[] => {
      if (isFileError(error, 'ENOENT')) return [];
      throw error;
    });
  const topics: TopicReport[] = [];
  for (const name of names) {
    if (name.startsWith('.')) continue; // A topic that was being made when its process ended.
    const topic = await readTopic(fileSystem, directory, name);
    if (topic !== null) topics.push(await new TopicCheck(fileSystem, topic).run());
  }
  const groups: GroupReport[] = [];
  for (const group of await listGroups(fileSystem, directory)) {
    const offsets = await readGroupOffsets(fileSystem, directory, group);
    const committed =
      offsets === null
        ? null
        : Object.fromEntries([...offsets.topics].map(([topic, one]) => [topic, one.offsets]));
    groups.push({ group, committed });
  }
  return { topics, groups };
}

class TopicCheck {
  readonly #fileSystem: FileSystem;
  readonly #topic: TopicDescription;
  #groups = 0;
  #segments: readonly SegmentHeader[] = [];
  readonly #records: number[];
  #ends: number[];
  #sequence = 0;
  #firstTimeMs: number | null = null;
  #lastTimeMs: number | null = null;

  constructor(fileSystem: FileSystem, topic: TopicDescription) {
    this.#fileSystem = fileSystem;
    this.#topic = topic;
    this.#records = new Array<number>(topic.partitions).fill(0);
    this.#ends = new Array<number>(topic.partitions).fill(0);
  }

  async run(): Promise<TopicReport> {
    const problem = await this.#check();
    const starts = this.#segments[0]?.startOffsets;
    return {
      topic: this.#topic.topic,
      incarnation: this.#topic.incarnation,
      segments: this.#segments.length,
      groups: this.#groups,
      partitions: this.#ends.map((end, i) => ({
        earliest: starts?.[i] ?? 0,
        end,
        records: this.#records[i] as number,
      })),
      firstAppendTimeMs: this.#firstTimeMs,
      lastAppendTimeMs: this.#lastTimeMs,
      problem,
    };
  }

  async #check(): Promise<Problem | null> {
    try {
      const end = await this.#end();
      this.#segments = (await readSegments(this.#fileSystem, this.#topic)).filter(
        (segment) => segment.base >= end.earliestBase && segment.base <= end.segmentBase,
      );
      for (const [i, segment] of this.#segments.entries()) {
        await this.#checkSegment(segment, this.#segments[i + 1] ?? null, end);
      }
      return end.unfinished === null
        ? null
        : {
            kind: 'unfinished',
            file: end.unfinished.file,
            byte: end.unfinished.byte,
            message: `an unfinished last group: ${end.unfinished.why}`,
          };
    } catch (error) {
      if (!hasCode(error, 'PULSE_LOG_CORRUPT')) throw error;
      const { file, byte } = error.details as { file: string; byte: number };
      return { kind: 'corrupt', file, byte, message: error.message };
    }
  }

  /** A head of this boot is exact and its writer may be busy behind it; otherwise the files tell. */
  async #end(): Promise<PublishedEnd & { unfinished: UnfinishedGroup | null }> {
    const headFile = await this.#fileSystem.open(join(this.#topic.directory, headName), 'read');
    try {
      const head = await readHeadFile(this.#topic, headFile);
      if (head !== null && head.bootId === this.#fileSystem.bootId() && (await this.#isBeingWritten())) {
        return { ...head, unfinished: null };
      }
      const state = await readJournal(this.#fileSystem, this.#topic, head);
      return { ...state.end, unfinished: state.unfinished };
    } finally {
      await headFile.close();
    }
  }

  async #isBeingWritten(): Promise<boolean> {
    const lock = this.#fileSystem.lock(join(this.#topic.directory, 'writer.lock'));
    lock?.release();
    return lock === null;
  }

  async #checkSegment(segment: SegmentHeader, next: SegmentHeader | null, end: PublishedEnd): Promise<void> {
    const path = join(this.#topic.directory, segmentName(segment.base));
    const isFirst = segment === this.#segments[0];
    if (isFirst) {
      this.#ends = [...segment.startOffsets];
      this.#sequence = segment.base - 1;
    } else if (segment.startOffsets.some((offset, i) => offset !== this.#ends[i])) {
      throw corrupt(path, 0, 'it does not begin at the offsets where the segment before it ends');
    }
    const file = await this.#fileSystem.open(path, 'read');
    try {
      const limit = next === null ? end.position : await file.size();
      const scanner = new SegmentScanner(file, segment.headerBytes, this.#topic.incarnationBytes);
      const expected = next === null ? end.sequence : next.base - 1;
      while (this.#sequence < expected) {
        const step = await scanner.next(limit);
        if (step.kind === 'broken') throw corrupt(path, step.position, step.why);
        if (step.kind === 'end') break;
        this.#checkGroup(path, step.position, step.group);
      }
      if (this.#sequence !== expected) {
        throw corrupt(path, scanner.position, `group ${this.#sequence + 1} is not there`);
      }
    } finally {
      await file.close();
    }
  }

  #checkGroup(path: string, position: number, group: GroupView): void {
    if (group.sequence !== this.#sequence + 1) {
      throw corrupt(path, position, `group ${group.sequence} stands where ${this.#sequence + 1} belongs`);
    }
    if (group.appendTimeMs < (this.#lastTimeMs ?? 0))
      throw corrupt(path, position, 'its append time goes back');
    for (const share of group.shares) {
      if (share.firstOffset !== this.#ends[share.partition]) {
        throw corrupt(path, position, `partition ${share.partition} goes on at ${share.firstOffset}`);
      }
      this.#ends[share.partition] = share.firstOffset + share.records;
      this.#records[share.partition] = (this.#records[share.partition] as number) + share.records;
    }
    const why = checkRecords(group);
    if (why !== null) throw corrupt(path, position, why);
    this.#sequence = group.sequence;
    this.#groups++;
    this.#firstTimeMs ??= group.appendTimeMs;
    this.#lastTimeMs = group.appendTimeMs;
  }
}

/** Null when the records fill the group exactly and count up per partition. */
function checkRecords(group: GroupView): string | null {
  const counts = new Map<number, number>();
  let at = group.recordsStart;
  for (let i = 0; i < group.recordCount; i++) {
    const partition = recordPartitionAt(group.bytes, at);
    const count = counts.get(partition) ?? 0;
    if (recordOffsetDeltaAt(group.bytes, at) !== count) return `record ${i} of the group has a wrong offset`;
    counts.set(partition, count + 1);
    at += recordBytesAt(group.bytes, at);
  }
  if (at !== group.recordsEnd) return 'its records do not fill it exactly';
  const matches = group.shares.every((share) => counts.get(share.partition) === share.records);
  return matches ? null : 'its partition table does not match its records';
}
