import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Histogram } from './histogram.ts';
import { SeededRandom } from './random.ts';

const quantiles = [0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];

describe('Histogram', () => {
  test('answers percentiles within 1 % of the sorted values over nine orders of magnitude', () => {
    const random = new SeededRandom(7);
    const histogram = new Histogram();
    const values = Array.from({ length: 50_000 }, () => Math.floor(Math.exp(random.next() * 20.7)));
    for (const value of values) histogram.record(value);
    values.sort((a, b) => a - b);
    for (const quantile of quantiles) {
      const exact = values[Math.ceil(quantile * values.length) - 1] as number;
      const found = histogram.percentile(quantile);
      assert.ok(Math.abs(found - exact) <= exact * 0.004 + 0.5, `p${quantile}: ${found} instead of ${exact}`);
    }
    assert.equal(histogram.percentile(1), values.at(-1));
    assert.equal(histogram.min, values[0]);
    assert.equal(histogram.count, values.length);
  });

  test('is off by at most 0.4 % at every power of two and its neighbours', () => {
    for (let bit = 0; bit < 31; bit++) {
      for (const value of [2 ** bit - 1, 2 ** bit, 2 ** bit + 1].filter((each) => each < 2 ** 31)) {
        const histogram = new Histogram();
        histogram.record(value);
        // A second, larger value keeps the answer from being the exact maximum.
        histogram.record(2 ** 31 - 1);
        const found = histogram.percentile(0.5);
        assert.ok(Math.abs(found - value) <= value * 0.004, `${value} came back as ${found}`);
      }
    }
  });

  test('keeps values outside its range at the edges', () => {
    const histogram = new Histogram();
    histogram.record(-5);
    histogram.record(1e12);
    assert.equal(histogram.min, 0);
    assert.equal(histogram.max, 2 ** 31 - 1);
  });

  test('adds another histogram as if its values had been recorded here', () => {
    const [one, two, both] = [new Histogram(), new Histogram(), new Histogram()];
    for (let value = 1; value < 10_000; value += 7) {
      (value % 2 === 0 ? one : two).record(value);
      both.record(value);
    }
    one.add(two);
    for (const quantile of quantiles) assert.equal(one.percentile(quantile), both.percentile(quantile));
    assert.equal(one.mean, both.mean);
  });

  test('says 0 for everything while it is empty', () => {
    const histogram = new Histogram();
    assert.deepEqual(
      [histogram.percentile(0.99), histogram.min, histogram.max, histogram.mean],
      [0, 0, 0, 0],
    );
  });
});
