import { describe, expect, it } from 'vitest'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { sessionOptions } from '../../src/core/session.ts'

describe('quoting', () => {
  it.each([['a', '"a"'], ['Große Tabelle', '"Große Tabelle"'], ['a"; drop table b', '"a""; drop table b"']])('identifier %s',
    (name, sql) => {
    expect(quoteIdent(name)).toBe(sql)
  })
  it.each([['', "''"], ["o'clock", "'o''clock'"], ["a\\'b", "E'a\\\\''b'"], ['x\ny', "'x\ny'"]])('literal %j', (text, sql) => {
    expect(quoteLiteral(text)).toBe(sql)
  })
  it('names have their schema', () => expect(quoteName({ schema: 's', table: 'T' })).toBe('"s"."T"'))
  it('refuses NUL', () => {
    expect(() => quoteIdent('a\0')).toThrow(RangeError)
    expect(() => quoteLiteral('\0')).toThrow(RangeError)
  })
})

describe('session options', () => {
  it('are -c switches, with blanks escaped', () => {
    const text = sessionOptions({ lock_timeout: '29s', search_path: 'a, b\\c' })
    expect(text).toContain('-c DateStyle=ISO ')
    expect(text).toContain('-c search_path=a,\\ b\\\\c ')
    expect(text).toContain('-c lock_timeout=29s ')
  })
})
