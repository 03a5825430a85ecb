// A histogram without labels whose observation costs a few comparisons; prom-client's own hashes labels every time.
import { Histogram, type HistogramConfiguration } from 'prom-client';

/** What prom-client reads from a metric. */
interface MetricJson {
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly aggregator: 'sum';
  readonly values: MetricValue[];
}

interface MetricValue {
  readonly metricName: string;
  readonly labels: Record<string, string | number>;
  readonly sharedLabels: Record<string, string | number>;
  readonly value: number;
}

/** Counts observations in fixed buckets. */
export class BucketHistogram extends Histogram {
  readonly #bounds: readonly number[];
  readonly #name: string;
  readonly #help: string;
  /** Observations per bucket, the last one beyond all bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(configuration: HistogramConfiguration<string> & { readonly buckets: number[] }) {
    super(configuration);
    this.#bounds = configuration.buckets;
    this.#name = configuration.name;
    this.#help = configuration.help;
    this.#counts = new Float64Array(configuration.buckets.length + 1);
  }

  /** Adds one observation in the unit of the metric. */
  add(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    this.#counts[bucket]! += 1;
    this.#sum += value;
  }

  /** What the registry reads, for text and JSON alike; prom-client's own version walks its table of labels. */
  async getForPromString(): Promise<MetricJson> {
    const values: MetricValue[] = [];
    const push = (suffix: string, labels: MetricValue['labels'], value: number): void => {
      values.push({ metricName: `${this.#name}_${suffix}`, labels, sharedLabels: {}, value });
    };
    let cumulative = 0;
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      cumulative += this.#counts[bucket]!;
      push('bucket', { le: this.#bounds[bucket] ?? '+Inf' }, cumulative);
    }
    push('sum', {}, this.#sum);
    push('count', {}, cumulative);
    return { name: this.#name, help: this.#help, type: 'histogram', aggregator: 'sum', values };
  }
}
