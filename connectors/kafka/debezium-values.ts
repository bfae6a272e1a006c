import { Unreadable } from './record.ts'

/**
 * A value of a Debezium record, given as it stands in the JSON (a number's digits, or a string without its quotes and escapes), as
 * Postgres's text. Throws Unreadable for what has no certain text: never an approximation.
 */
export type FromJson = (raw: string) => string

export const asIs: FromJson = (raw) => raw

export const integer: FromJson = (raw) => expect(raw, /^-?\d+$/)

/** Connect writes what JSON has no number for as a string. */
export const float: FromJson = (raw) => expect(raw, /^(-?\d+(\.\d+)?([eE][+-]?\d+)?|NaN|-?Infinity)$/)

export const boolean: FromJson = (raw) => (expect(raw, /^(true|false)$/) === 'true' ? 't' : 'f')

/** bit(1) */
export const oneBit: FromJson = (raw) => (boolean(raw) === 't' ? '1' : '0')

export const bytes: FromJson = (raw) => `\\x${Buffer.from(raw, 'base64').toString('hex')}`

/** `decimal.handling.mode=string`: Java's text of a BigDecimal, or the name of what is none. */
export const numeric: FromJson = (raw) => (raw === 'NAN' || raw === 'NaN' ? 'NaN' : expect(raw, /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/))

/** bit(n), io.debezium.data.Bits: the last byte has the highest bits. */
export function bits(length: number): FromJson {
  return (raw) => {
    const from = Buffer.from(raw, 'base64')
    return Array.from({ length }, (_, i) => ((from[(length - 1 - i) >> 3] ?? 0) >> ((length - 1 - i) & 7)) & 1).join('')
  }
}

const DAY = 86_400_000_000n
/** 0001-01-01 and the day after 9999-12-31: beyond them are infinity's stand-ins and years that calendars disagree about. */
const FIRST = -719_162n
const BEHIND = 2_932_897n

export const date: FromJson = (raw) => dayText(BigInt(integer(raw)))

/** `unit` microseconds each, since midnight; 24:00:00 is one. */
export function time(unit: bigint): FromJson {
  return (raw) => {
    const micros = BigInt(integer(raw)) * unit
    if (micros < 0n || micros > DAY) throw new Unreadable('a time of day in it is none')
    return timeText(micros)
  }
}

/** `unit` microseconds each, since 1970, on a clock without a zone. */
export function timestamp(unit: bigint): FromJson {
  return (raw) => {
    const micros = BigInt(integer(raw)) * unit
    const inDay = ((micros % DAY) + DAY) % DAY
    return `${dayText((micros - inDay) / DAY)} ${timeText(inDay)}`
  }
}

/** ISO 8601 in UTC, or infinity. */
export const zonedTimestamp: FromJson = (raw) => {
  if (raw === 'infinity' || raw === '-infinity') return raw
  const [, day, clock, fraction = ''] = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z$/.exec(raw) ?? []
  if (day === undefined || day.startsWith('0000')) throw new Unreadable('a moment in it is beyond the years 1 to 9999')
  const kept = fraction.replace(/0+$/, '')
  return `${day} ${clock}${kept === '' ? '' : `.${kept}`}+00`
}

/** `interval.handling.mode=string`: ISO 8601 with a sign at each part, which Postgres reads. */
export const interval: FromJson = (raw) => expect(raw, /^P(-?\d+Y)?(-?\d+M)?(-?\d+D)?T(-?\d+H)?(-?\d+M)?(-?\d+(\.\d+)?S)?$/)

function expect(raw: string, pattern: RegExp): string {
  if (!pattern.test(raw)) throw new Unreadable('a value in it is not of the type that its schema says')
  return raw
}

function dayText(days: bigint): string {
  if (days < FIRST || days >= BEHIND) throw new Unreadable('a day in it is beyond the years 1 to 9999')
  return new Date(Number(days) * 86_400_000).toISOString().slice(0, 10)
}

function timeText(micros: bigint): string {
  const seconds = Number(micros / 1_000_000n)
  const two = (n: number): string => String(n).padStart(2, '0')
  const fraction = String(micros % 1_000_000n).padStart(6, '0').replace(/0+$/, '')
  return `${two(Math.floor(seconds / 3_600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${fraction === '' ? '' : `.${fraction}`}`
}
