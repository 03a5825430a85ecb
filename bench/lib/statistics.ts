// Medians and spreads. Means are left out on purpose: one disk stall would decide them.

/** The middle value, or the mean of the two middle ones; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Largest minus smallest, as a share of the median; 0 of one value and of equal ones. */
export function spread(values: readonly number[]): number {
  const range = Math.max(...values) - Math.min(...values);
  return values.length < 2 || range === 0 ? 0 : range / median(values);
}

/** Element by element, `a / b`. */
export function ratios(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, i) => value / (b[i] as number));
}
