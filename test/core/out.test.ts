import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Lines } from '../../src/core/out.ts'
import { rowOf } from '../../src/core/row.ts'

const lineOf = (values: readonly (string | null)[]): string => `${rowOf(values).buf.toString('latin1')}\n`
const textOf = (lines: Lines): string => lines.view().toString('latin1')

describe('lines', () => {
  it('are the COPY text of their values, however they have to grow', () => {
    const line = fc.array(fc.option(fc.string({ unit: 'binary', maxLength: 80 })), { minLength: 1, maxLength: 4 })
    fc.assert(fc.property(fc.array(line, { maxLength: 30 }), fc.integer({ min: 0, max: 64 }), (list, size) => {
      const lines = new Lines(size)
      for (const values of list) lines.line(values)
      expect(textOf(lines)).toBe(list.map(lineOf).join(''))
      expect(lines.rows).toBe(list.length)
    }))
  })

  it('take what is COPY text already as it is, short or long', () => {
    for (const length of [0, 1, 48, 49, 5_000, 200_000]) {
      const source = Buffer.alloc(length + 4, 'é', 'latin1')
      const lines = new Lines(1)
      lines.bytes(source, 2, length + 2)
      lines.tab()
      lines.raw('é'.repeat(length))
      lines.tab()
      lines.null()
      lines.end()
      expect(textOf(lines)).toBe(`${'é'.repeat(length)}\t${'é'.repeat(length)}\t\\N\n`)
      lines.release()
    }
  })

  it('write bytes as well as text', () => {
    const lines = new Lines(1)
    lines.value(Buffer.from([0xff, 9, 92, 0]))
    expect([...lines.view()]).toEqual([0xff, 92, 116, 92, 92, 0])
  })

  it('released buffers are used again, and never one that is in use', () => {
    const kind = fc.constantFrom('open', 'write', 'write', 'release')
    const step = fc.record({ kind, which: fc.nat(5), size: fc.constantFrom(10, 70_000, 200_000) })
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const live: { lines: Lines; mark: string; length: number }[] = []
      steps.forEach(({ kind, which, size }, i) => {
        const one = live[which % Math.max(1, live.length)]
        if (kind === 'open' || !one) live.push({ lines: new Lines(size), mark: String.fromCharCode(33 + i), length: 0 })
        else if (kind === 'release') live.splice(live.indexOf(one), 1)[0].lines.release()
        else {
          one.lines.raw(one.mark.repeat(size))
          one.length += size
        }
      })
      const buffers = live.map(({ lines }) => lines.buf)
      expect(new Set(buffers.map((buf) => buf.buffer)).size >= buffers.filter((buf) => buf.length >= 65_536).length).toBe(true)
      for (const { lines, mark, length } of live) {
        expect(lines.at).toBe(length)
        expect(lines.view().equals(Buffer.alloc(length, mark))).toBe(true)
        lines.release()
      }
    }), { numRuns: 60 })
  })

  it('a second release gives nothing back, and released lines can be written anew', () => {
    const lines = new Lines(100_000)
    lines.raw('x')
    lines.release()
    lines.release()
    const [a, b] = [new Lines(100_000), new Lines(100_000)]
    expect(a.buf).not.toBe(b.buf)
    lines.raw('again')
    expect([textOf(lines), lines.view().length, a.view().length]).toEqual(['again', 5, 0])
  })
})
