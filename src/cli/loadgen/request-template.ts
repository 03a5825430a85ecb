// One connection's request, encoded once; for each send only ids, key and time are written over in place.
import { SeededRandom } from './random.ts';

/** Characters of an event id: a UUID whose last twelve hex digits count the events of the run. */
const eventIdChars = 36;
const counterChars = 12;
const timeChars = 24;
const dataSpace = 'region_';

const hexDigit = Buffer.from('0123456789abcdef', 'latin1');

export interface TemplateOptions {
  readonly host: string;
  /** Longest API key; shorter ones are padded with spaces, which HTTP allows behind a header value. */
  readonly apiKeyChars: number;
  readonly batch: number;
  readonly eventBytes: number;
  readonly idempotencyKeys: boolean;
  readonly seed: number;
  /** First 24 characters of every event id of the run, hyphens included. */
  readonly idPrefix: string;
  /** As `idPrefix`, for Idempotency-Keys: never the same in two runs, or a seeded rerun would be told of a conflict. */
  readonly keyPrefix: string;
}

/** First 24 characters of the event ids of a run with this seed. */
export function idPrefixOf(seed: number): string {
  const random = new SeededRandom(seed);
  const hex = (chars: number): string =>
    Array.from({ length: chars }, () => random.below(16).toString(16)).join('');
  return `${hex(8)}-${hex(4)}-7${hex(3)}-8${hex(3)}-`;
}

/** The event id that a counter stands for. */
export function eventIdOf(idPrefix: string, counter: number): string {
  return idPrefix + counter.toString(16).padStart(counterChars, '0');
}

/** A JSON event of about `bytes` bytes. */
export function eventJson(options: {
  id: string;
  time: string;
  bytes: number;
  random: SeededRandom;
}): string {
  const { id, time, random } = options;
  const data = {
    region_id: dataSpace + String(random.below(265)).padStart(3, '0'),
    vehicle_id: `vehicle_${random.below(100_000)}`,
    distance_m: random.below(40_000),
    duration_s: 60 + random.below(5_400),
    fare_cents: 300 + random.below(9_000),
    is_shared: random.below(4) === 0,
  };
  const event = { event_id: id, event_type: 'trip_completed', event_time: time, data };
  const missing = options.bytes - Buffer.byteLength(JSON.stringify(event)) - ',"note":""'.length;
  return JSON.stringify(missing > 0 ? { ...event, data: { ...data, note: noteOf(missing, random) } } : event);
}

// Words, not one repeated letter: padding should cost a parser and a compressor what text costs them.
function noteOf(chars: number, random: SeededRandom): string {
  const words = [
    'morning',
    'bridge',
    'queue',
    'river',
    'station',
    'late',
    'north',
    'signal',
    'harbour',
    'rain',
  ];
  let note = '';
  while (note.length < chars) note += `${words[random.below(words.length)]} `;
  return note.slice(0, chars);
}

/** The encoded request and the places that change. */
export class RequestTemplate {
  readonly bytes: Buffer;
  readonly #keyAt: number;
  readonly #keyChars: number;
  readonly #idempotencyAt: number;
  readonly #idAt: readonly number[];
  readonly #timeAt: readonly number[];

  constructor(options: TemplateOptions) {
    const random = new SeededRandom(options.seed);
    const id = eventIdOf(options.idPrefix, 0);
    const time = new Date(0).toISOString();
    const events = Array.from({ length: options.batch }, () =>
      eventJson({ id, time, bytes: options.eventBytes, random }),
    );
    const body = options.batch === 1 ? (events[0] as string) : `[${events.join(',')}]`;
    const key = 'k'.repeat(options.apiKeyChars);
    const head = [
      'POST /v1/collect HTTP/1.1',
      `Host: ${options.host}`,
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...(options.idempotencyKeys ? [`Idempotency-Key: ${eventIdOf(options.keyPrefix, 0)}`] : []),
      `X-API-Key: ${key}`,
    ].join('\r\n');
    const text = `${head}\r\n\r\n${body}`;
    this.bytes = Buffer.from(text, 'latin1');
    this.#keyAt = head.length - key.length;
    this.#keyChars = key.length;
    this.#idempotencyAt = options.idempotencyKeys ? head.indexOf(options.keyPrefix) : -1;
    this.#idAt = placesOf(text, '"event_id":"', head.length);
    this.#timeAt = placesOf(text, '"event_time":"', head.length);
  }

  setKey(key: Buffer): void {
    key.copy(this.bytes, this.#keyAt);
    this.bytes.fill(0x20, this.#keyAt + key.length, this.#keyAt + this.#keyChars);
  }

  /** `counter` makes the Idempotency-Key of this request its own. */
  setIdempotencyKey(counter: number): void {
    if (this.#idempotencyAt !== -1) {
      writeCounter(this.bytes, this.#idempotencyAt + eventIdChars - counterChars, counter);
    }
  }

  /** Gives event `index` of the batch the id of `counter`. */
  setEvent(index: number, counter: number): void {
    writeCounter(this.bytes, (this.#idAt[index] as number) + eventIdChars - counterChars, counter);
  }

  /** Sets the time of all events; `time` is ISO 8601 with milliseconds. */
  setTime(time: Buffer): void {
    for (const at of this.#timeAt) time.copy(this.bytes, at, 0, timeChars);
  }
}

/** Where the values start that follow `name` in `text`, from `from` on. */
function placesOf(text: string, name: string, from: number): number[] {
  const places: number[] = [];
  for (let at = text.indexOf(name, from); at !== -1; at = text.indexOf(name, at + 1)) {
    places.push(at + name.length);
  }
  return places;
}

/** Writes twelve hex digits. Two halves of 24 bits, because bit operations end at 32. */
function writeCounter(bytes: Buffer, at: number, counter: number): void {
  let low = counter % 0x1000000;
  let high = Math.floor(counter / 0x1000000);
  for (let i = 5; i >= 0; i--) {
    bytes[at + 6 + i] = hexDigit[low & 15] as number;
    bytes[at + i] = hexDigit[high & 15] as number;
    low >>= 4;
    high >>= 4;
  }
}
