// Facts about the one parser of times.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatTime, parseTime, timeMsMax, timeMsMin } from './time.ts';

function iso(value: unknown): string {
  const result = parseTime(value);
  return result.ok ? formatTime(result.timeMs) : result.rule;
}

describe('parseTime', () => {
  test('reads RFC 3339 with offsets, fractions and either letter case', () => {
    assert.equal(iso('2026-01-31T12:00:00Z'), '2026-01-31T12:00:00.000Z');
    assert.equal(iso('2026-01-31t12:00:00.5z'), '2026-01-31T12:00:00.500Z');
    assert.equal(iso('2026-01-31 12:00:00+05:30'), '2026-01-31T06:30:00.000Z');
    assert.equal(iso('2026-01-31T23:30:00-01:00'), '2026-02-01T00:30:00.000Z');
  });

  test('cuts digits beyond milliseconds off', () => {
    assert.equal(iso('2026-01-31T12:00:00.9999999Z'), '2026-01-31T12:00:00.999Z');
  });

  test('agrees with Date.parse on random times of four-digit years', () => {
    let state = 7;
    for (let i = 0; i < 2000; i++) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      const ms = Math.floor((state / 2_147_483_648) * (timeMsMax - timeMsMin)) + timeMsMin;
      assert.equal(iso(new Date(ms).toISOString()), new Date(ms).toISOString());
    }
  });

  test('reads and writes the canonical form like any other, day after day', () => {
    const texts = [
      '2026-01-31T23:59:59.999Z',
      '2026-02-01T00:00:00.000Z',
      '2026-01-31T00:00:00.007Z',
      '1969-12-31T23:59:59.099Z',
    ];
    for (const text of [...texts, ...texts]) assert.equal(iso(text), text);
    for (const text of [
      '2026-01-31T24:00:00.000Z',
      '2026-01-31T23:60:00.000Z',
      '2026-01-31T2x:00:00.000Z',
      '2026-02-30T00:00:00.000Z',
    ]) {
      assert.equal(iso(text), 'format', text);
    }
    assert.equal(iso('2016-12-31T23:59:60.000Z'), '2016-12-31T23:59:59.999Z');
  });

  test('keeps a leap second inside its day and refuses other seconds 60', () => {
    assert.equal(iso('2016-12-31T23:59:60Z'), '2016-12-31T23:59:59.999Z');
    assert.equal(iso('2017-01-01T08:59:60.7+09:00'), '2016-12-31T23:59:59.999Z');
    assert.equal(iso('2016-12-30T23:59:60Z'), 'format');
    assert.equal(iso('2016-12-31T12:59:60Z'), 'format');
  });

  test('knows the bounds', () => {
    assert.equal(iso('0001-01-01T00:00:00Z'), '0001-01-01T00:00:00.000Z');
    assert.equal(iso('9999-12-31T23:59:59.999Z'), '9999-12-31T23:59:59.999Z');
    assert.equal(iso('0000-12-31T23:59:59Z'), 'range');
    assert.equal(iso('0001-01-01T00:00:00+00:01'), 'range');
    assert.equal(iso('9999-12-31T23:59:59-00:01'), 'range');
    assert.equal(iso(9e15), 'range');
    assert.equal(iso(Number.POSITIVE_INFINITY), 'range');
  });

  test('refuses what other parsers guess at', () => {
    const others = [
      'infinity',
      'now',
      '2026-01-31',
      '2026-01-31T12:00:00',
      '+275760-09-13T00:00:00Z',
      '1760000000',
      '',
    ];
    for (const text of [
      ...others,
      '2026-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:00:00+24:00',
    ]) {
      assert.equal(iso(text), 'format', text);
    }
    for (const value of [null, true, {}, []]) assert.equal(iso(value), 'type');
  });

  test('takes numbers from 1e11 on as milliseconds and smaller ones as seconds', () => {
    assert.equal(iso(1_760_000_000_123), '2025-10-09T08:53:20.123Z');
    assert.equal(iso(1_760_000_000), '2025-10-09T08:53:20.000Z');
    assert.equal(iso(1_760_000_000.123), '2025-10-09T08:53:20.123Z');
    assert.equal(iso(0), '1970-01-01T00:00:00.000Z');
    assert.equal(iso(-1), '1969-12-31T23:59:59.000Z');
  });
});
