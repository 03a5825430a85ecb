// Reads the topics of a data directory from their files and keeps, of every record, what the checks need.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './check.ts';
import { dataDigest } from './content.ts';
import {
  type Group,
  type Head,
  parseGroup,
  parseHead,
  parseSegmentHead,
  type RawRecord,
} from './segment-bytes.ts';

/** A record as the checks see it. */
export interface RecordFacts {
  readonly partition: number;
  readonly offset: number;
  readonly tenantId: string;
  readonly eventId: string | null;
  /** '' for native events, else the CloudEvents source as the ledger keeps it. */
  readonly ledgerSource: string;
  /** Beginning of the minute of receipt, in ms since the epoch. */
  readonly minuteMs: number;
  readonly attempt: number;
  /** Position of the first attempt; null on the first itself. */
  readonly origin: string | null;
  readonly bytes: number;
  readonly digest: string;
  /** Digest of the event's data by its meaning; null when it is not told by the value alone. */
  readonly dataDigest: string | null;
  /** `pulse_source`, `pulse_previous_source`, `pulse_dead_letter_stage`. */
  readonly source: string | null;
  readonly previous: string | null;
  readonly deadLetterStage: string | null;
}

/** A topic as its files tell it. */
export interface TopicFacts {
  readonly topic: string;
  readonly incarnation: string;
  readonly partitions: number;
  /** First offset that is still there, and the one behind the last, by partition. */
  readonly earliest: readonly number[];
  readonly ends: readonly number[];
  /** By partition, in order of offset; `records[p][i]` has the offset `earliest[p] + i`. */
  readonly records: readonly (readonly RecordFacts[])[];
}

/** Reads every topic; what is wrong with the files becomes a breach of `check`. */
export function readTopics(dataDirectory: string, check: Check): Map<string, TopicFacts> {
  const directory = join(dataDirectory, 'log', 'topics');
  const topics = new Map<string, TopicFacts>();
  if (!existsSync(directory)) return topics;
  // Raw topics last: whatever the others hold lies in raw then, however busy Pulse is.
  const names = readdirSync(directory).sort(
    (a, b) => Number(a.endsWith('.raw')) - Number(b.endsWith('.raw')),
  );
  for (const name of names) {
    if (name.startsWith('.')) continue;
    topics.set(name, readTopic(join(directory, name), check));
  }
  return topics;
}

function readTopic(directory: string, check: Check): TopicFacts {
  const description = JSON.parse(readFileSync(join(directory, 'topic.json'), 'utf8')) as {
    topic: string;
    partitions: number;
    incarnation: string;
  };
  const { topic, partitions, incarnation } = description;
  const head = readHead(join(directory, 'head'));
  check.expect(typeof head !== 'string', () => `${directory}/head: ${String(head)}`);
  const reading = new TopicReading(directory, incarnation.replaceAll('-', ''), partitions, check);
  if (typeof head !== 'string') reading.run(head);
  return { topic, incarnation, partitions, ...reading };
}

/** The head is overwritten in place while Pulse runs: a torn look is repeated. */
function readHead(path: string): Head | string {
  let head: Head | string = 'never read';
  for (let attempt = 0; attempt < 50; attempt++) {
    head = parseHead(readFileSync(path));
    if (typeof head !== 'string') return head;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
  return head;
}

class TopicReading {
  readonly earliest: number[];
  readonly ends: number[];
  readonly records: RecordFacts[][];
  readonly #directory: string;
  readonly #incarnation: string;
  readonly #check: Check;
  #sequence = 0;
  #timeMs = 0;

  constructor(directory: string, incarnation: string, partitions: number, check: Check) {
    this.#directory = directory;
    this.#incarnation = incarnation;
    this.#check = check;
    this.earliest = new Array<number>(partitions).fill(0);
    this.ends = new Array<number>(partitions).fill(0);
    this.records = Array.from({ length: partitions }, () => []);
  }

  run(head: Head): void {
    const bases = readdirSync(this.#directory)
      .filter((name) => /^\d{20}\.segment$/.test(name))
      .map((name) => Number(name.slice(0, 20)))
      .filter((base) => base >= head.earliestBase && base <= head.segmentBase)
      .sort((a, b) => a - b);
    for (const [index, base] of bases.entries())
      this.#segment(base, index === 0 ? null : (bases[index - 1] as number), head);
    this.#check.expect(
      this.#sequence === head.sequence,
      () => `${this.#directory}: the head names group ${head.sequence}, the files end with ${this.#sequence}`,
    );
    const hasEnds = head.ends.every((end, partition) => end === this.ends[partition]);
    this.#check.expect(
      hasEnds,
      () => `${this.#directory}: the head names the ends ${head.ends}, the files have ${this.ends}`,
    );
  }

  #segment(base: number, previous: number | null, head: Head): void {
    const path = join(this.#directory, `${String(base).padStart(20, '0')}.segment`);
    const bytes = readFileSync(path);
    const header = parseSegmentHead(bytes);
    if (typeof header === 'string') {
      this.#check.breach(`${path}: ${header}`);
      return;
    }
    this.#check.expect(
      header.base === base &&
        header.incarnation === this.#incarnation &&
        (previous === null || header.previousBase === previous),
      () => `${path}: its header names base ${header.base} behind ${header.previousBase}`,
    );
    if (previous === null) {
      header.startOffsets.forEach((offset, partition) => {
        this.earliest[partition] = offset;
        this.ends[partition] = offset;
      });
      this.#sequence = base - 1;
    } else {
      this.#check.expect(
        header.startOffsets.every((offset, partition) => offset === this.ends[partition]),
        () => `${path}: begins at ${header.startOffsets}, the segment before it ends at ${this.ends}`,
      );
    }
    const limit = base === head.segmentBase ? head.position : bytes.length;
    for (let at = header.headerBytes; at < limit; ) {
      const group = parseGroup(bytes, at, limit, this.#incarnation);
      if (group === null) break;
      if (typeof group === 'string') {
        this.#check.breach(`${path} byte ${at}: ${group}`);
        return;
      }
      this.#group(path, group);
      at = group.end;
    }
  }

  #group(path: string, group: Group): void {
    const place = `${path} byte ${group.start}`;
    this.#check.expect(
      group.sequence === this.#sequence + 1,
      () => `${place}: group ${group.sequence} stands behind ${this.#sequence}`,
    );
    this.#check.expect(group.appendTimeMs >= this.#timeMs, () => `${place}: its append time goes back`);
    this.#sequence = group.sequence;
    this.#timeMs = group.appendTimeMs;
    for (const record of group.records) {
      const end = this.ends[record.partition];
      this.#check.expect(
        record.offset === end,
        () => `${place}: partition ${record.partition} has offset ${record.offset} where ${end} belongs`,
      );
      this.ends[record.partition] = record.offset + 1;
      this.records[record.partition]?.push(factsOf(record, group.appendTimeMs));
    }
    const told = group.shares.reduce((sum, share) => sum + share.records, 0);
    this.#check.expect(
      told === group.records.length,
      () => `${place}: its partition table counts ${told} of ${group.records.length} records`,
    );
  }
}

function factsOf(record: RawRecord, appendTimeMs: number): RecordFacts {
  const { headers, value } = record;
  const isNative = headers.get('pulse_protocol') === 'native';
  const receivedMs = Date.parse(headers.get('pulse_received_at') ?? '');
  const timeMs = Number.isNaN(receivedMs) ? appendTimeMs : receivedMs;
  return {
    partition: record.partition,
    offset: record.offset,
    tenantId: headers.get('pulse_tenant') ?? '_platform',
    eventId: headers.get('ce_id') ?? null,
    ledgerSource: isNative ? '' : ledgerSource(headers.get('ce_source') ?? ''),
    minuteMs: Math.floor(timeMs / 60_000) * 60_000,
    attempt: Number(headers.get('pulse_attempt') ?? '1'),
    origin: headers.get('pulse_origin') ?? null,
    bytes: value.length,
    digest: createHash('sha256').update(value).digest('base64url'),
    dataDigest: isNative && !headers.has('pulse_source') ? dataDigest(value) : null,
    source: headers.get('pulse_source') ?? null,
    previous: headers.get('pulse_previous_source') ?? null,
    deadLetterStage: headers.get('pulse_dead_letter_stage') ?? null,
  };
}

/** The ledger keeps sources of more than 200 bytes as their SHA-256. */
function ledgerSource(source: string): string {
  if (Buffer.byteLength(source) <= 200) return source;
  return `sha256:${createHash('sha256').update(source).digest('base64url')}`;
}
