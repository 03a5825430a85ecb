// A histogram without labels whose observation costs a few comparisons; prom-client's own hashes labels every time.
import { Histogram, type HistogramConfiguration } from 'prom-client';

type MetricJson = Awaited<ReturnType<Histogram['get']>>;

/** Counts observations in fixed buckets. */
export class BucketHistogram extends Histogram {
  readonly #bounds: readonly number[];
  readonly #name: string;
  /** Observations per bucket, the last one beyond all bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(configuration: HistogramConfiguration<string> & { readonly buckets: number[] }) {
    super(configuration);
    this.#bounds = configuration.buckets;
    this.#name = configuration.name;
    this.#counts = new Float64Array(configuration.buckets.length + 1);
  }

  /** Adds one observation in the unit of the metric. */
  add(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    this.#counts[bucket]! += 1;
    this.#sum += value;
  }

  override async get(): Promise<MetricJson> {
    const values: MetricJson['values'] = [];
    let cumulative = 0;
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      cumulative += this.#counts[bucket]!;
      const bound = this.#bounds[bucket] ?? '+Inf';
      values.push({ metricName: `${this.#name}_bucket`, labels: { le: bound }, value: cumulative });
    }
    values.push({ metricName: `${this.#name}_sum`, labels: {}, value: this.#sum });
    values.push({ metricName: `${this.#name}_count`, labels: {}, value: cumulative });
    return { ...(await super.get()), values };
  }

  /** What the registry calls for the text format; prom-client's own walks its hash map instead. */
  getForPromString(): Promise<MetricJson> {
    return this.get();
  }
}
