import { scanArray } from '../../src/core/array.ts'

/** Writes a value, given as Postgres's text, as JSON of its wire type; null when that type cannot hold it. */
export type ToJson = (text: string) => string | null

/** The text as a JSON number. */
export const number: ToJson = (text) => (/^-?\d+$/.test(text) ? text : null)

/** JSON has neither NaN nor the infinities, and readers take what stands for them as 0. */
export const float: ToJson = (text) => (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text) ? text : null)

export const text: ToJson = (value) => JSON.stringify(value)
export const boolean: ToJson = (value) => (value === 't' || value === '1' ? 'true' : 'false')

/** `\x…` as base64. */
export const bytes: ToJson = (value) => (value.startsWith('\\x') ? base64(Buffer.from(value.slice(2), 'hex')) : null)

function base64(value: Buffer): string {
  return `"${value.toString('base64')}"`
}

/** bit(n): the first bit is the highest of the last byte (io.debezium.data.Bits is little-endian). */
export const bits: ToJson = (value) => {
  const out = Buffer.alloc(Math.ceil(value.length / 8))
  for (let i = 0; i < value.length; i++) if (value[value.length - 1 - i] === '1') out[i >> 3] |= 1 << (i & 7)
  return base64(out)
}

/** An integer as Java's BigInteger writes it: two's complement, the highest byte first, as few bytes as it takes. */
function bigInteger(value: bigint): Buffer {
  let length = 1
  while (BigInt.asIntN(8 * length, value) !== value) length++
  return Buffer.from(BigInt.asUintN(8 * length, value).toString(16).padStart(2 * length, '0'), 'hex')
}

const DECIMAL = /^(-?\d+)(?:\.(\d+))?$/

/** numeric(p, s): org.apache.kafka.connect.data.Decimal, whose scale is in the schema. */
export function decimal(scale: number): ToJson {
  return (value) => {
    const [, whole, fraction = ''] = DECIMAL.exec(value) ?? []
    if (whole === undefined || fraction.length > Math.max(scale, 0)) return null
    const digits = BigInt(whole + fraction.padEnd(Math.max(scale, 0), '0'))
    return base64(bigInteger(scale < 0 ? digits / 10n ** BigInt(-scale) : digits))
  }
}

/** numeric: each value has a scale of its own. */
export const variableDecimal: ToJson = (value) => {
  const [, whole, fraction = ''] = DECIMAL.exec(value) ?? []
  return whole === undefined ? null : `{"scale":${fraction.length},"value":${base64(bigInteger(BigInt(whole + fraction)))}}`
}

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/
const TIME = /^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/
const DAY_MS = 86_400_000

/** Days since 1970; null beyond the years 1 to 9999: readers' calendars differ there, and infinity is no day. */
function days(value: string): number | null {
  const [, year, month, day] = DATE.exec(value) ?? []
  if (year === undefined || year === '0000') return null
  const date = new Date(0)
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  return date.getTime() / DAY_MS
}

/** Microseconds since midnight. */
function micros(value: string): number | null {
  const [, h, m, s, fraction = ''] = TIME.exec(value) ?? []
  return h === undefined ? null : ((Number(h) * 60 + Number(m)) * 60 + Number(s)) * 1e6 + Number(fraction.padEnd(6, '0'))
}

export const date: ToJson = (value) => days(value)?.toString() ?? null

/** Microseconds (`unit` 1) or milliseconds (`unit` 1000) since midnight. */
export function time(unit: number): ToJson {
  return (value) => {
    const at = micros(value)
    return at === null ? null : String(at / unit)
  }
}

/** Microseconds or milliseconds since 1970 on a clock without a zone. */
export function timestamp(unit: number): ToJson {
  return (value) => {
    const [day, at] = [days(value.slice(0, 10)), micros(value.slice(11))]
    return day === null || at === null ? null : String((BigInt(day) * 86_400_000_000n + BigInt(at)) / BigInt(unit))
  }
}

/** `2024-01-01 12:00:00.5+00`, as a session in UTC prints it. */
export const zonedTimestamp: ToJson = (value) => {
  const at = value.endsWith('+00') ? value.slice(0, -3) : ''
  return days(at.slice(0, 10)) === null || micros(at.slice(11)) === null ? null : `"${at.slice(0, 10)}T${at.slice(11)}Z"`
}

const INTERVAL = /^(?:(-?\d+) years? ?)?(?:(-?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?$/

/** `1 year 2 mons -3 days +04:05:06.7` as ISO 8601 with a sign at each part: io.debezium.time.Interval. */
export const interval: ToJson = (value) => {
  const found = INTERVAL.exec(value)
  if (!found) return null
  const [, year = '0', month = '0', day = '0', sign = '', h = '0', m = '0', s = '0'] = found
  const minus = sign === '-' ? '-' : ''
  return `"P${year}Y${month}M${day.replace('+', '')}DT${minus}${h}H${minus}${m}M${minus}${s}S"`
}

/** One dimension that begins at 1, for JSON has no others. */
export function array(element: ToJson): ToJson {
  return (value) => {
    if (!value.startsWith('{') || value.startsWith('{{')) return null
    const parts: (string | null)[] = []
    scanArray(Buffer.from(value), (one) => parts.push(one === null ? 'null' : element(one)))
    return parts.includes(null) ? null : `[${parts.join(',')}]`
  }
}
