/** A WAL address. Text (`16/B374D848`) only at the edges; compared as an unsigned 64-bit number. */
export type Lsn = bigint

export const ZERO_LSN: Lsn = 0n

/** Parses Postgres's `X/X` form (two unsigned 32-bit hex halves). Throws a RangeError on anything else. */
export function parseLsn(text: string): Lsn {
  const parts = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text)
  if (!parts) throw new RangeError(`not an LSN: ${JSON.stringify(text)}`)
  return (BigInt(`0x${parts[1]}`) << 32n) | BigInt(`0x${parts[2]}`)
}

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}
