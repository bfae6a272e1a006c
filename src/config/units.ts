import { z } from 'zod'

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const SIZES: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, KB: 1e3, MB: 1e6, GB: 1e9 }

/** `15m`, `500ms`: becomes milliseconds. */
export const duration = z.string().regex(/^\d+(ms|s|m|h|d)$/, 'expected a duration such as 500ms, 10s, 15m, 2h')
  .transform((text) => Number.parseInt(text, 10) * UNITS[text.replace(/^\d+/, '')])

/** `64MiB`: becomes bytes. */
export const size = z.string().regex(/^\d+(B|KiB|MiB|GiB|KB|MB|GB)$/, 'expected a size such as 64MiB')
  .transform((text) => Number.parseInt(text, 10) * SIZES[text.replace(/^\d+/, '')])

/** A whole number, or its text, as it comes from an environment variable. */
export function count(least: number, most: number) {
  const range = `expected a whole number from ${least} to ${most}`
  const number = z.union([z.int(), z.string().regex(/^\d{1,9}$/).transform(Number)], { error: range })
  return number.pipe(z.int().min(least, range).max(most, range))
}
