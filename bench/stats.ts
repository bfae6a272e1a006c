/** NaN for no values. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

/** The value at a share of the sorted values, between neighbours in proportion; NaN for no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = Math.floor(at)
  const high = Math.ceil(at)
  return sorted.length === 0 ? Number.NaN : sorted[low] + (sorted[high] - sorted[low]) * (at - low)
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
