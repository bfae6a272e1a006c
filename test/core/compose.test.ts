import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Change } from '../../src/core/change.ts'
import { composeKeys } from '../../src/core/compose.ts'
import { valuesOf } from '../../src/core/row.ts'
import { deleteOf, insertOf, programOf, relation, updateOf } from '../support/core-literals.ts'

const shape = relation('t', ['id', 'a'])
const program = programOf(shape)
type Held = { id: string; a: string }

/** Rows under keys that may be taken twice on the way: each step moves, changes, deletes or adds one. */
const steps = fc.array(fc.record({ pick: fc.nat(20), to: fc.nat(5), how: fc.constantFrom('move', 'move', 'move', 'change', 'delete', 'insert') }), { maxLength: 12 })

describe('rows whose keys are unique only at the end of their transaction', () => {
  it('end as each of them ended, under every key', () => {
    fc.assert(fc.property(steps, (all) => {
      const rows: Held[] = [0, 1, 2, 3].map((i) => ({ id: String(i), a: `a${i}` }))
      const there = new Map(rows.map(({ id, a }) => [id, a]))
      const changes: Change[] = []
      all.forEach(({ pick, to, how }, n) => {
        const row = rows[pick % rows.length]
        if (how === 'insert') {
          rows.push({ id: String(to), a: `n${n}` })
          changes.push(insertOf(shape, [String(to), `n${n}`]))
        } else if (row && how === 'delete') {
          rows.splice(rows.indexOf(row), 1)
          changes.push(deleteOf(shape, [row.id, row.a], true))
        } else if (row) {
          const next = how === 'move' ? { ...row, id: String(to) } : { ...row, a: `c${n}` }
          changes.push(updateOf(shape, [next.id, how === 'move' ? undefined : next.a], [row.id, row.a], true))
          Object.assign(row, next)
        }
      })
      fc.pre(new Set(rows.map(({ id }) => id)).size === rows.length)
      const composed = composeKeys(changes, program)
      fc.pre(composed !== null)
      for (const { op, row, old } of composed!) {
        const [id, a] = valuesOf((row ?? old)!) as string[]
        // An insert never meets a row, and nothing else is of a row that is not there.
        expect(there.has(id)).toBe(op !== 'insert')
        if (op === 'delete') there.delete(id)
        else there.set(id, a)
      }
      expect(there).toEqual(new Map(rows.map(({ id, a }) => [id, a])))
    }))
  })

  it('are left alone without key changes, without whole old rows, or with two rows under a key', () => {
    expect(composeKeys([updateOf(shape, ['1', 'b'], ['1', 'a'], true)], program)).toBeNull()
    expect(composeKeys([updateOf(shape, ['2', 'a'], ['1', null])], program)).toBeNull()
    expect(composeKeys([updateOf(shape, ['2', 'a'], ['1', 'a'], true), updateOf(shape, ['2', 'b'], ['3', 'b'], true)], program)).toBeNull()
  })
})
