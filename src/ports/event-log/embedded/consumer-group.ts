// The members of one consumer group inside one EventLog: who owns which partition, and what is committed.
import { logError, type PartitionOffset, type TopicPartition } from '../event-log.ts';
import { isDiskFull } from './file-system.ts';
import { GroupClaim, type GroupOffsets, type TopicOffsets } from './group-files.ts';
import type { Topic, TopicContext } from './topic.ts';

/** What a group tells its members. */
export interface GroupMember {
  readonly topics: readonly Topic[];
  /** The member owns exactly these partitions from now on, and goes on at the committed offsets. */
  assign(partitions: readonly TopicPartition[]): void;
  /** Another EventLog took the group over, or it was dropped. */
  fence(error: Error): void;
}

/** How often a group looks whether it was taken over. */
const fenceCheckMs = 200;

/** Joined at the first `consume` of a group, kept until its last member left. */
export class ConsumerGroup {
  readonly name: string;
  readonly #claim: GroupClaim;
  readonly #syncMs: number;
  readonly #context: TopicContext;
  readonly #topics: Map<string, TopicOffsets>;
  #revision: number;
  #members: GroupMember[] = [];
  #fencedBy: Error | null = null;
  #checkedAt = performance.now();
  #writing: Promise<void> | null = null;
  #queued: Promise<void> | null = null;
  #syncTimer: NodeJS.Timeout | null = null;
  #syncing: Promise<void> = Promise.resolve();

  private constructor(context: TopicContext, claim: GroupClaim, offsets: GroupOffsets) {
    this.name = claim.group;
    this.#context = context;
    this.#syncMs = context.settings.PULSE_LOG_COMMIT_SYNC_MS;
    this.#claim = claim;
    this.#topics = offsets.topics;
    this.#revision = offsets.revision;
  }

  static async claim(context: TopicContext, directory: string, name: string): Promise<ConsumerGroup> {
    const { claim, offsets } = await GroupClaim.take(context.fileSystem, directory, name);
    return new ConsumerGroup(context, claim, offsets);
  }

  get isFenced(): boolean {
    return this.#fencedBy !== null;
  }

  get isEmpty(): boolean {
    return this.#members.length === 0;
  }

  /**
   * Writes down where the group starts in topics that it has not read before, so that retention keeps what it has yet
   * to read.
   */
  async register(topics: readonly Topic[], from: 'earliest' | 'end'): Promise<void> {
    for (;;) {
      let changed = false;
      for (const topic of topics) {
        const known = this.#topics.get(topic.info.topic);
        if (known !== undefined && known.incarnation === topic.info.incarnation) continue;
        const start = from === 'end' ? topic.published().ends : await topic.reader.earliest();
        this.#topics.set(topic.info.topic, { incarnation: topic.info.incarnation, offsets: [...start] });
        changed = true;
      }
      if (!changed) return;
      await this.#write();
      await this.#sync();
      if (from === 'end' || !(await this.#forgetRemoved(topics))) return;
    }
  }

  /** Retention may have removed the start between the look and the write: then look again. */
  async #forgetRemoved(topics: readonly Topic[]): Promise<boolean> {
    let forgotten = false;
    for (const topic of topics) {
      const earliest = await topic.reader.earliest();
      const { offsets } = this.#topics.get(topic.info.topic) as TopicOffsets;
      if (earliest.every((first, partition) => first <= (offsets[partition] ?? 0))) continue;
      this.#topics.delete(topic.info.topic);
      forgotten = true;
    }
    return forgotten;
  }

  /** Where a partition goes on. */
  committed(topic: string, partition: number): number {
    return this.#topics.get(topic)?.offsets[partition] ?? 0;
  }

  add(member: GroupMember): void {
    this.#members.push(member);
    this.#share();
  }

  remove(member: GroupMember): void {
    this.#members = this.#members.filter((other) => other !== member);
    this.#share();
  }

  /** Partition i of a topic goes to the member i mod n of those that read the topic, in the order of joining. */
  #share(): void {
    const shares = new Map<GroupMember, TopicPartition[]>(this.#members.map((member) => [member, []]));
    const topics = new Map<string, Topic>();
    for (const member of this.#members)
      for (const topic of member.topics) topics.set(topic.info.topic, topic);
    for (const topic of topics.values()) {
      const readers = this.#members.filter((member) => member.topics.includes(topic));
      for (let partition = 0; partition < topic.info.partitions; partition++) {
        const owner = readers[partition % readers.length] as GroupMember;
        shares.get(owner)?.push({ topic: topic.info.topic, partition });
      }
    }
    for (const [member, partitions] of shares) member.assign(partitions);
  }

  /** Errors: PULSE_LOG_FENCED. Cost: looks at the disk at most five times a second. */
  async checkFence(): Promise<void> {
    if (this.#fencedBy !== null) throw this.#fencedBy;
    const now = performance.now();
    if (now - this.#checkedAt < fenceCheckMs) return;
    this.#checkedAt = now;
    await this.#orFence(() => this.#claim.check());
  }

  /** Remembers the offsets. Concurrent calls share one write. Errors: PULSE_LOG_FENCED, PULSE_LOG_DISK_FULL. */
  async commit(offsets: readonly PartitionOffset[]): Promise<void> {
    if (this.#fencedBy !== null) throw this.#fencedBy;
    for (const { topic, partition, offset } of offsets) {
      const known = this.#topics.get(topic);
      if (known !== undefined) known.offsets[partition] = offset;
    }
    await this.#write();
  }

  async #write(): Promise<void> {
    if (this.#writing === null) {
      this.#writing = this.#writeOnce();
      await this.#writing;
      return;
    }
    // A write under way may have left without these offsets: one more follows it, for all who came meanwhile.
    this.#queued ??= this.#writing
      .catch(() => undefined)
      .then(() => {
        this.#queued = null;
        this.#writing = this.#writeOnce();
        return this.#writing;
      });
    await this.#queued;
  }

  async #writeOnce(): Promise<void> {
    try {
      await this.#orFence(() => this.#claim.write(this.#snapshot()));
      if (this.#syncMs === 0) await this.#sync();
      else this.#syncLater();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      throw logError('PULSE_LOG_DISK_FULL', 'No space is left to remember committed offsets.', {
        cause: error,
        retryAfterMs: 1_000,
      });
    } finally {
      if (this.#queued === null) this.#writing = null;
    }
  }

  #snapshot(): GroupOffsets {
    return { revision: ++this.#revision, topics: this.#topics };
  }

  #syncLater(): void {
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = null;
      this.#syncing = this.#sync().catch((error: unknown) => {
        this.#context.logger.warn(
          { err: error, group: this.name },
          'committed offsets could not be forced to disk',
        );
      });
    }, this.#syncMs);
  }

  async #sync(): Promise<void> {
    await this.#orFence(() => this.#claim.writeDurably(this.#snapshot()));
  }

  async #orFence(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if ((error as { code?: string }).code === 'PULSE_LOG_FENCED') this.#fence(error as Error);
      throw error;
    }
  }

  #fence(error: Error): void {
    this.#fencedBy = error;
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
    for (const member of this.#members) member.fence(error);
  }

  /** Forces the offsets to disk and lets go of the group. */
  async close(): Promise<void> {
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
    await this.#queued?.catch(() => undefined);
    await this.#writing?.catch(() => undefined);
    await this.#syncing;
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    if (this.#fencedBy !== null) return;
    await this.#sync().catch((error: unknown) => {
      // Fenced at the last moment, or the disk fails: the offsets are a hint, and the last written ones remain.
      this.#context.logger.warn(
        { err: error, group: this.name },
        'committed offsets could not be forced to disk',
      );
    });
  }
}
