import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Change } from '../../src/core/change.ts'
import { keyOf } from '../../src/core/coalesce.ts'
import type { RekeyError } from '../../src/core/errors.ts'
import { block, changeKey, isBehind, loadChange, type Now, readableKey, storeChange, type Blocked } from '../../src/core/parking.ts'
import { compileProgram, type Minter } from '../../src/core/program.ts'
import type { Relation } from '../../src/core/relation.ts'
import { rowOf, valuesOf } from '../../src/core/row.ts'
import { table } from '../support/catalog-literals.ts'
import { deleteOf, insertOf, relation, truncateOf, updateOf, type Values } from '../support/core-literals.ts'
import { compile, USR, users } from '../support/mapping-literals.ts'

const shape = relation('t', ['id', '__proto__', 'big ü"', 'constructor'])
/** Values that Postgres can hold: text without NUL and without half a character. */
const value = fc.oneof(
  fc.string({ unit: 'grapheme' }).map((s) => s.replaceAll('\0', '')), fc.constantFrom('', '\\N', '\\U', '\t', '😀', '\u2028', '"'),
  fc.constant(null), fc.constant(undefined),
)
const row = fc.array(value, { minLength: 4, maxLength: 4 })
const plain = ({ op, row, old, oldIsFull }: Change) => ({ op, oldIsFull, row: row && valuesOf(row), old: old && valuesOf(old) })

/** The table today: the mapping copies every column that it has. */
function now(present: Relation, { former = [], target = [] }: { former?: readonly string[]; target?: readonly string[] } = {}): Now {
  return {
    present, target,
    rule: {
      source: present, dropped: [], former: new Map(former.map((name) => [name, null])),
      columns: present.columns.map(({ name }) => ({ target: name, type: 'text', source: name, map: { kind: 'copy' } })),
    },
  }
}

describe('a parked change', () => {
  it('is the same again when it is loaded', () => {
    const change = fc.oneof(
      row.map((r) => insertOf(shape, r)),
      fc.tuple(row, fc.option(row), fc.boolean()).map(([r, old, full]) => updateOf(shape, r, old, full)),
      fc.tuple(row, fc.boolean()).map(([r, full]) => deleteOf(shape, r, full)), fc.constant(truncateOf(shape)),
    )
    fc.assert(fc.property(change, (one) => {
      expect(plain(loadChange(storeChange(one), now(shape)))).toEqual(plain(one))
    }))
  })

  it('is loaded in the shape that its table had then, one relation a shape', () => {
    const present = relation('t', ['new', 'big ü"', 'id'], ['id'])
    const today = now(present, { former: ['__proto__', 'constructor'] })
    const [one, other] = ['1', '2'].map((id) => loadChange(storeChange(insertOf(shape, [id, 'p', null, undefined])), today))
    expect(plain(one).row).toEqual(['1', 'p', null, undefined])
    expect(one.relation.columns.map(({ name, key }) => ({ name, key }))).toEqual(shape.columns.map(({ name }) => ({ name, key: name === 'id' })))
    expect(other.relation).toBe(one.relation)
    expect(loadChange(storeChange(insertOf(present, ['1', 'p', 'c'])), today).relation).toBe(present)
  })

  it('comes without what neither side has any more; what one side has, or another name may have, is asked about', () => {
    const present = relation('t', ['id', 'name'], ['id'])
    const was = storeChange(insertOf(relation('t', ['id', 'gone', 'name']), ['1', 'secret', 'n']))
    const asked = (text: string, more: Parameters<typeof now>[1]): string => {
      try {
        return loadChange(text, now(present, more)).relation.columns.map(({ name }) => name).join(' ')
      } catch (error) {
        expect(error).toMatchObject({ code: 'SCHEMA_CHANGED' })
        expect(JSON.stringify(error)).not.toContain('secret')
        return `${(error as RekeyError).message}: ${(error as RekeyError).hint}`
      }
    }
    expect(asked(was, {})).toBe('id name')
    expect(asked(was, { former: ['gone'] })).toBe('id gone name')
    expect(asked(was, { target: ['id', 'gone', 'name'] })).toBe('rows of public.t that are parked have the column gone, which the source has no more; the destination still has it: '
      + 'Drop it at the destination, or say in the rule of public.t: former: { gone: null }; parked rows then come without it.')
    const lacking = storeChange(insertOf(relation('t', ['id', 'gone']), ['1', 'secret']))
    expect(asked(lacking, {})).toBe('rows of public.t that are parked have the column gone, which the source has no more, and lack name: '
      + 'Say in the rule of public.t: former: { gone: name } where it was renamed, or { gone: null } where it is gone; then start again.')
  })

  it('has a key for people', () => {
    const key: Values = ['a\tb', 'ü\\', '']
    expect(readableKey(keyOf(rowOf(key), [0, 1, 2]))).toBe('a\tb, ü\\, ')
  })
})

describe('what waits behind a parked row', () => {
  const source = [users(), table('posts',
    { columns: { id: 'bigint', author: 'bigint null', body: 'text null' }, refs: { author: 'users.id' } })]
  const { mapping } = compile({ source, destination: [
    table('users', { columns: { id: 'text' } }),
    table('posts', { columns: { id: 'text', author: 'text null', body: 'text null' }, refs: { author: 'users.id' } }),
  ], entities: { users: USR, posts: { id: 'prefixed', prefix: 'pst' } } })
  const minter: Minter = { ordered: null, mint: (key) => key, unmint: (id) => id }
  const posts = relation('posts', ['id', 'author', 'body'])
  const program = compileProgram(mapping, new Map([['users', minter], ['posts', minter]]), posts)
  const behind = (change: Change, ...keys: [table: string, key: string][]): boolean => {
    const blocked: Blocked = new Map()
    for (const [name, key] of keys) block(blocked, name, key)
    return isBehind(change, program, mapping, blocked)
  }

  it.each<[string, Change, boolean]>([
    ['a later change of the row', updateOf(posts, ['1', null, 'b']), true],
    ['its delete', deleteOf(posts, ['1', null, null]), true],
    ['a change of its key, from it', updateOf(posts, ['9', null, 'b'], ['1', null, null]), true],
    ['a change of its key, to it', updateOf(posts, ['1', null, 'b'], ['9', null, null]), true],
    ['a row that refers to one that waits', insertOf(posts, ['2', '7', null]), true],
    ['not another row', insertOf(posts, ['2', '1', '7']), false],
    ['not a row that refers to nothing', insertOf(posts, ['2', null, null]), false],
    ['not one whose reference was not sent', updateOf(posts, ['2', undefined, 'b']), false],
    ['not the delete of a row that refers to one that waits', deleteOf(posts, ['2', '7', null], true), false],
    ['not a truncate', truncateOf(posts), false],
  ])('%s', (_, change, waits) => {
    expect(behind(change, ['public.posts', '1'], ['public.users', '7'])).toBe(waits)
    expect(behind(change)).toBe(false)
  })

  it('a key of one table blocks no other', () => {
    expect(behind(insertOf(posts, ['7', '1', null]), ['public.users', '7'], ['public.posts', '1'])).toBe(false)
  })

  it('the key of a change is that of its new row, or of what it deletes', () => {
    const changes = [insertOf(posts, ['1', null, null]), updateOf(posts, ['2', null, null], ['1', null, null]),
      deleteOf(posts, ['a\tb', null, null])]
    expect([...changes, truncateOf(posts)].map((change) => changeKey(change, program))).toEqual(['1', '2', 'a\\tb', null])
  })
})
