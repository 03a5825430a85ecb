// Removes whole old segments of a topic, by append time and by size, once every consumer group has read them.
import { join } from 'node:path';
import { listGroups, readDurableOffsets } from './group-files.ts';
import { logCounts } from './metrics.ts';
import { removeIfThere } from './segment-preparer.ts';
import type { Topic, TopicContext } from './topic.ts';
import { type SegmentHeader, segmentName } from './topic-files.ts';

/** The limits that apply; 0 means no limit. */
export interface Retention {
  readonly retentionMs: number;
  readonly retentionBytes: number;
}

/**
 * Removes expired segments, oldest first; the last segment stays always.
 * Guarantees: never a record that a group has not durably committed (I12); each removal is durable before the next one, so a
 * power loss leaves no hole (I13).
 * Shape: returns how many segments were removed.
 */
export async function removeExpiredSegments(
  context: TopicContext,
  directory: string,
  topic: Topic,
  retention: Retention,
): Promise<number> {
  const segments = await topic.reader.segments();
  const expired = await countExpired(context, topic, segments, retention);
  if (expired === 0) return 0;
  const removable = await countReadByAll(context, directory, topic, segments, expired);
  if (removable === 0) return 0;
  topic.publishEarliest((segments[removable] as SegmentHeader).base);
  for (const segment of segments.slice(0, removable)) {
    await removeIfThere(context.fileSystem, join(topic.info.directory, segmentName(segment.base)));
    await context.fileSystem.syncDirectory(topic.info.directory);
    logCounts.removedSegments++;
  }
  context.logger.info({ topic: topic.info.topic, segments: removable }, 'retention removed segments');
  return removable;
}

/** How many of the oldest segments are beyond the limits. */
async function countExpired(
  context: TopicContext,
  topic: Topic,
  segments: readonly SegmentHeader[],
  { retentionMs, retentionBytes }: Retention,
): Promise<number> {
  const oldestMs = retentionMs === 0 ? Number.NEGATIVE_INFINITY : context.clock.now() - retentionMs;
  const sizes = retentionBytes === 0 ? segments.map(() => 0) : await sizesOf(context, topic, segments);
  let bytes = sizes.reduce((sum, size) => sum + size, 0);
  let count = 0;
  while (count < segments.length - 1) {
    // The next segment began after the last record of this one was appended.
    const tooOld = (segments[count + 1] as SegmentHeader).firstTimeMs < oldestMs;
    if (!tooOld && !(retentionBytes > 0 && bytes > retentionBytes)) break;
    bytes -= sizes[count] as number;
    count++;
  }
  return count;
}

async function sizesOf(
  context: TopicContext,
  topic: Topic,
  segments: readonly SegmentHeader[],
): Promise<readonly number[]> {
  const sizes: number[] = [];
  for (const segment of segments) {
    const file = await context.fileSystem.open(join(topic.info.directory, segmentName(segment.base)), 'read');
    sizes.push(await file.size());
    await file.close();
  }
  return sizes;
}

/** How many of the first `expired` segments every group of this topic has read to their ends. */
async function countReadByAll(
  context: TopicContext,
  directory: string,
  topic: Topic,
  segments: readonly SegmentHeader[],
  expired: number,
): Promise<number> {
  let count = expired;
  for (const group of await listGroups(context.fileSystem, directory)) {
    const offsets = await readDurableOffsets(context.fileSystem, directory, group);
    // A group whose offsets cannot be read may need everything.
    if (offsets === null) return 0;
    const known = offsets.topics.get(topic.info.topic);
    if (known === undefined || known.incarnation !== topic.info.incarnation) continue;
    const hasRead = (segment: SegmentHeader): boolean =>
      segment.startOffsets.every((offset, partition) => (known.offsets[partition] ?? 0) >= offset);
    while (count > 0 && !hasRead(segments[count] as SegmentHeader)) count--;
  }
  return count;
}
