// One seeded life story of an embedded log on a forgetful disk: appends, reads, commits, retention, power losses, kills,
// a full disk and failing syncs; after each restart everything that was promised is checked.
import assert from 'node:assert/strict';
import { pino } from 'pino';
import { ManualClock } from '../../src/core/clock.ts';
import { PulseError } from '../../src/core/errors.ts';
import { createEmbeddedEventLog, type EmbeddedEventLog } from '../../src/ports/event-log/embedded/index.ts';
import type { Consumer, LogRecord, StoredRecord } from '../../src/ports/event-log/event-log.ts';
import { type Death, type Faults, MemoryDisk } from './memory-disk.ts';
import { SeededRandom } from './random.ts';

const topic = 'events';
const group = 'reader';
const directory = '/data/log';
const logger = pino({ level: 'silent' });

/** One append call and what became of it. */
interface Call {
  readonly records: readonly LogRecord[];
  /** Null until acknowledged. */
  offsets: readonly number[] | null;
}

/** What the outside world knows of the log. */
class Witness {
  readonly calls: Call[] = [];
  readonly partitions: number;
  /** Value by partition and offset, as acknowledged or as seen by a reader: it may never change or vanish. */
  readonly known: Map<number, string>[];
  /** Commits acknowledged, by partition: the highest one, and all that were asked for. */
  readonly acknowledgedCommits: number[];
  readonly askedCommits: Set<number>[];

  constructor(partitions: number) {
    this.partitions = partitions;
    const each = <Value>(make: () => Value): Value[] => Array.from({ length: partitions }, make);
    this.known = each(() => new Map());
    this.acknowledgedCommits = each(() => 0);
    this.askedCommits = each(() => new Set([0]));
  }

  acknowledge(call: Call, offsets: readonly number[]): void {
    call.offsets = offsets;
    call.records.forEach((record, i) => {
      this.note(record.partition, offsets[i] as number, textOf(record));
    });
  }

  note(partition: number, offset: number, value: string): void {
    const before = this.known[partition]?.get(offset);
    assert.ok(before === undefined || before === value, `offset ${partition}/${offset} changed its record`);
    this.known[partition]?.set(offset, value);
  }
}

function textOf(record: LogRecord): string {
  return Buffer.from(record.value).toString('latin1');
}

/** Result of one simulation, to see that the seeds do reach the interesting places. */
export interface Story {
  readonly acknowledged: number;
  readonly deaths: number;
  readonly diedInRecovery: number;
  readonly failedSyncs: number;
  readonly fullDisks: number;
  readonly removedSegments: number;
}

/** Runs one seed. Errors: an AssertionError that says which promise broke. */
export async function simulate(seed: number): Promise<Story> {
  return await new Simulation(seed).run();
}

class Simulation {
  readonly #random: SeededRandom;
  readonly #disk: MemoryDisk;
  readonly #clock = new ManualClock();
  readonly #witness: Witness;
  readonly #retentionBytes: number;
  readonly #settings;
  readonly #story = {
    acknowledged: 0,
    deaths: 0,
    diedInRecovery: 0,
    failedSyncs: 0,
    fullDisks: 0,
    removedSegments: 0,
  };
  #nextValue = 0;
  #recovered = false;
  /** Set once the topic was made for sure. */
  #topicMade = false;
  /** Set once the group has joined for sure. */
  #groupMade = false;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#disk = new MemoryDisk(this.#random);
    this.#witness = new Witness(this.#random.between(1, 3));
    this.#retentionBytes = this.#random.chance(0.3) ? 20_000 : 0;
    this.#settings = {
      PULSE_LOG_SEGMENT_BYTES_MIN: this.#random.pick([6_000, 9_000, 16_384]),
      PULSE_LOG_SEGMENT_BYTES_MAX: this.#random.pick([9_000, 16_384, 40_000]),
      PULSE_LOG_GROUP_BYTES_MAX: this.#random.pick([500, 2_000, 20_000]),
      PULSE_LOG_PREPARE_BYTES_PER_SECOND: 2 ** 50,
      PULSE_LOG_COMMIT_SYNC_MS: this.#random.pick([0, 3_600_000]),
    };
  }

  async run(): Promise<Story> {
    // The data directory is the caller's, and durable before the log is opened in it.
    const mount = this.#disk.mount();
    await mount.createDirectory('/data');
    await mount.syncDirectory('/');
    const lives = this.#random.between(2, 4);
    for (let life = 0; life < lives; life++) await this.#live();
    const first = await this.#finalState();
    // A second recovery finds nothing left to do.
    const second = await this.#finalState();
    assert.deepEqual(second, first, 'a second recovery changed the log');
    return this.#story;
  }

  #faults(): { faults: Faults; death: Death } {
    const random = this.#random;
    const death = random.pick(['power', 'power', 'kill'] as const);
    const faults: Faults = {
      dieAt: random.chance(0.3) ? random.between(1, 40) : random.between(20, 400),
      death,
    };
    if (random.chance(0.15)) faults.bytesMax = random.between(12_000, 60_000);
    if (random.chance(0.15)) {
      faults.failSync = () => {
        const fails = random.chance(0.1);
        if (fails) this.#story.failedSyncs++;
        return fails;
      };
    }
    return { faults, death };
  }

  async #live(): Promise<void> {
    const { faults, death } = this.#faults();
    const mount = this.#disk.mount(faults);
    this.#recovered = false;
    let log: EmbeddedEventLog | null = null;
    try {
      log = await this.#open(mount);
      await this.#makeTopic(log);
      await this.#checkAll(log);
      this.#recovered = true;
      // Also before the group is back: retention must remember it.
      if (this.#groupMade && this.#random.chance(0.3))
        this.#story.removedSegments += await log.removeExpired();
      await this.#act(log, () => mount.isDown);
      if (this.#random.chance(0.5)) await log.close();
    } catch (error) {
      if (!mount.isDown && !isEnvironment(error)) {
        // Nothing may keep the test process alive once it has found what it looks for.
        mount.isDown = true;
        await log?.close().catch(() => undefined);
        throw error;
      }
    }
    // Some appends may be under way when the end comes.
    this.#disk.goDown(death);
    if (!this.#recovered) this.#story.diedInRecovery++;
    this.#story.deaths++;
    await log?.close().catch(() => undefined);
    this.#disk.locks.clear();
    if (death === 'power') this.#witness.acknowledgedCommits.fill(0);
  }

  #open(fileSystem: ReturnType<MemoryDisk['mount']>): Promise<EmbeddedEventLog> {
    return createEmbeddedEventLog({
      directory,
      fileSystem,
      logger,
      clock: this.#clock,
      settings: this.#settings,
    });
  }

  async #makeTopic(log: EmbeddedEventLog): Promise<void> {
    if (this.#topicMade) assert.notEqual(await log.describeTopic(topic), null, 'the topic is gone');
    const { partitions } = this.#witness;
    await log.createTopic(topic, { partitions, retentionMs: 0, retentionBytes: this.#retentionBytes });
    this.#topicMade = true;
  }

  async #act(log: EmbeddedEventLog, isDown: () => boolean): Promise<void> {
    const consumer = await log.consume({ group, topics: [topic], from: 'earliest' });
    this.#groupMade = true;
    const underWay: Promise<void>[] = [];
    const steps = this.#random.between(5, 40);
    for (let step = 0; step < steps && !isDown(); step++) {
      this.#clock.advance(this.#random.between(0, 50));
      const choice = this.#random.next();
      if (choice < 0.6) underWay.push(this.#append(log, isDown));
      else if (choice < 0.75) await Promise.all(underWay.splice(0));
      else if (choice < 0.9) await this.#readOn(consumer);
      else if (choice < 0.95) this.#story.removedSegments += await log.removeExpired();
      else await new Promise((resolve) => setImmediate(resolve));
    }
    if (this.#random.chance(0.6)) await Promise.all(underWay);
  }

  /** Never rejects: a refusal by the environment only leaves the call unacknowledged. */
  async #append(log: EmbeddedEventLog, isDown: () => boolean): Promise<void> {
    const call: Call = { records: this.#records(), offsets: null };
    this.#witness.calls.push(call);
    try {
      const offsets = await log.append(topic, call.records);
      // A process that is no more tells nobody.
      if (isDown()) return;
      this.#witness.acknowledge(call, offsets);
      this.#story.acknowledged += offsets.length;
    } catch (error) {
      if (error instanceof PulseError && error.code === 'PULSE_LOG_DISK_FULL') this.#story.fullDisks++;
      if (!isEnvironment(error)) throw error;
    }
  }

  #records(): LogRecord[] {
    const count = this.#random.chance(0.5) ? 1 : this.#random.between(2, 12);
    return Array.from({ length: count }, () => {
      const id = this.#nextValue++;
      const size = this.#random.chance(0.8) ? this.#random.between(0, 300) : this.#random.between(300, 3_000);
      return {
        partition: this.#random.between(0, this.#witness.partitions - 1),
        key: this.#random.chance(0.5) ? `key-${id}` : null,
        headers: this.#random.chance(0.5) ? { ce_id: String(id), other: 'ü' } : {},
        value: Buffer.from(`${id} ${'x'.repeat(size)}`),
      };
    });
  }

  async #readOn(consumer: Consumer): Promise<void> {
    const batches = await consumer.poll({
      recordsMax: this.#random.between(1, 50),
      bytesMax: 10_000,
      waitMs: 0,
    });
    for (const batch of batches) for (const record of batch.records) this.#see(record);
    if (batches.length === 0 || this.#random.chance(0.3)) return;
    const offsets = batches.map((b) => ({ topic, partition: b.partition, offset: b.nextOffset }));
    for (const { partition, offset } of offsets) this.#witness.askedCommits[partition]?.add(offset);
    await consumer.commit(offsets);
    for (const { partition, offset } of offsets) this.#witness.acknowledgedCommits[partition] = offset;
  }

  #see(record: StoredRecord): void {
    this.#witness.note(record.partition, record.offset, textOf(record));
  }

  /** Reads the whole log and compares it with everything known. */
  async #checkAll(log: EmbeddedEventLog): Promise<readonly string[]> {
    if (this.#random.chance(0.5)) await log.openForWriting(topic);
    const state: string[] = [];
    const places = new Map<string, number>();
    const earliestOf: number[] = [];
    for (const { partition, earliest, end } of await log.bounds(topic)) {
      earliestOf[partition] = earliest;
      const committed = Math.max(...(this.#witness.askedCommits[partition] ?? []));
      assert.ok(earliest <= committed, `offsets ${committed} to ${earliest} were removed unread`);
      const records: StoredRecord[] = [];
      for (let offset = earliest; offset < end; ) {
        const some = await log.read(topic, partition, offset, { recordsMax: 1_000, bytesMax: 1_000_000 });
        assert.notEqual(
          some.length,
          0,
          `partition ${partition} reads nothing at ${offset}, below its end ${end}`,
        );
        for (const record of some) assert.equal(record.offset, offset++, 'offsets are not continuous');
        records.push(...some);
      }
      for (const record of records) {
        this.#see(record);
        const value = textOf(record);
        assert.ok(!places.has(value), `record ${value.slice(0, 8)} is there twice`);
        places.set(value, record.partition);
        state.push(`${partition}/${record.offset} ${value}`);
      }
      for (const offset of this.#witness.known[partition]?.keys() ?? []) {
        assert.ok(offset < end, `record ${partition}/${offset} was durable and is gone`);
      }
    }
    this.#checkCalls(places, earliestOf);
    await this.#checkCommits(log, earliestOf);
    return state;
  }

  /** An append is there as a whole or not at all, and nothing is there that nobody appended. */
  #checkCalls(places: Map<string, number>, earliestOf: readonly number[]): void {
    const left = new Map(places);
    for (const call of this.#witness.calls) {
      const present = call.records.filter((record) => left.get(textOf(record)) === record.partition);
      for (const record of present) left.delete(textOf(record));
      const mayBeRemoved = earliestOf.some((offset) => offset > 0);
      if (mayBeRemoved) continue;
      assert.ok(present.length === 0 || present.length === call.records.length, 'half of an append is there');
      if (call.offsets !== null)
        assert.equal(present.length, call.records.length, 'an acknowledged append is gone');
    }
    assert.equal(left.size, 0, 'a record is there that was never appended');
  }

  async #checkCommits(log: EmbeddedEventLog, earliestOf: readonly number[]): Promise<void> {
    for (const { partition, committed, end } of await log.lag(group, topic)) {
      assert.ok(committed <= end, `commit ${committed} of partition ${partition} is beyond the end ${end}`);
      const acknowledged = this.#witness.acknowledgedCommits[partition] as number;
      assert.ok(
        committed >= acknowledged,
        `commit ${acknowledged} of partition ${partition} went back to ${committed}`,
      );
      const asked = this.#witness.askedCommits[partition]?.has(committed) === true;
      assert.ok(asked || committed === earliestOf[partition], `nobody committed ${committed}`);
    }
  }

  async #finalState(): Promise<readonly string[]> {
    const log = await this.#open(this.#disk.mount());
    try {
      await this.#makeTopic(log);
      await log.openForWriting(topic);
      return await this.#checkAll(log);
    } finally {
      await log.close();
    }
  }
}

/** Errors that the simulated machine causes, as opposed to broken promises. */
function isEnvironment(error: unknown): boolean {
  if (error instanceof PulseError) {
    return ['PULSE_LOG_FAILED', 'PULSE_LOG_DISK_FULL', 'PULSE_LOG_CLOSED'].includes(error.code);
  }
  return (
    error instanceof Error && ['ENOSPC', 'EIO', 'EDOWN'].includes((error as NodeJS.ErrnoException).code ?? '')
  );
}
