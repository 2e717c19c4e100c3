/** Of timed runs, as the package's own benchmark counts. */

/**
 * @param {number[]} values  one at least
 * @returns {{min: number, median: number, p90: number}} p90: nine of ten took no longer
 */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { min: sorted[0], median, p90: sorted[Math.max(Math.ceil(sorted.length * 0.9) - 1, 0)] };
}

/**
 * @param {number[]} values
 * @param {number} [bins]
 * @returns {{from: number, to: number, counts: number[]}} from the least to the 95th percentile; the last bin has the
 *   rest too, so that a few pauses do not flatten all others
 */
export function histogram(values, bins = 24) {
  const sorted = [...values].sort((a, b) => a - b);
  const from = sorted[0];
  const to = Math.max(sorted[Math.max(Math.ceil(sorted.length * 0.95) - 1, 0)], from * 1.05 + 1e-3);
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((bins * (value - from)) / (to - from)))] += 1;
  return { from, to, counts };
}
