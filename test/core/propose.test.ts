import { describe, expect, it } from 'vitest'
import { guessReference, isFramework, naturalKey, prefixFor, singular } from '../../src/core/propose/names.ts'
import { todosOf } from '../../src/core/compile/mapping-text.ts'
import { table } from '../support/catalog-literals.ts'

describe('names', () => {
  it('makes short prefixes that are never the same', () => {
    expect(['users', 'projects', 'groups', 'user_preferences', 'a_b_c_d_e', 'x', '1234'].map((t) => prefixFor(t, new Set())))
      .toEqual(['usr', 'prj', 'grp', 'uspr', 'abcd', 'xxxa', 'obj'])
    const used = new Set<string>()
    for (let i = 0; i < 400; i++) {
      const prefix = prefixFor('users', used)
      expect(prefix).toMatch(/^[a-z]{3,4}$/)
      expect(used.has(prefix)).toBe(false)
      used.add(prefix)
    }
  })

  it('knows one from many', () => {
    expect(['users', 'categories', 'boxes', 'address', 'addresses', 'status', 'news'].map(singular)).toEqual(['user', 'category', 'box',
      'address', 'address', 'statu', 'new'])
    expect([isFramework('alembic_version'), isFramework('versions')]).toEqual([true, false])
  })

  it('guesses what a column refers to by its name and type', () => {
    const column = (t: ReturnType<typeof table>, name: string) => t.columns.find((c) => c.name === name)!
    const users = table('users', { columns: { id: 'bigint' } })
    const groups = table('groups', { columns: { gid: 'bigint' } })
    const wallets = table('wallets', { columns: { wallet_id: 'bigint' } })
    const things = [users, groups, wallets].map((t) => ({ entity: t.table, table: t.table, column: t.columns[0] }))
    const names = { user_id: 'bigint', ownerUserId: 'integer', created_by: 'bigint', shared_gid: 'bigint', wallet_id: 'integer',
      user_ids: 'bigint[]', thing_id: 'bigint', user_uid: 'uuid' }
    const t = table('t', { columns: names })
    expect(Object.keys(names).map((n) => guessReference(column(t, n), things))).toEqual(['users', 'users', 'users', 'groups', 'wallets',
      'users', null, null])
  })

  it('prefers the natural key that people would', () => {
    const there = table('users', { columns: { id: 'text', email: 'text', name: 'text', token: 'text' },
      unique: [['token'], ['name'], ['lower((email)::text)']] })
    const from = table('users', { columns: { id: 'bigint', email: 'text', name: 'text', token: 'text' } })
    expect(naturalKey(from, there, { ids: new Set(['id']), fresh: new Set() })).toEqual(['lower(email)'])
    expect(naturalKey(from, { ...there, uniques: there.uniques.slice(0, 2) }, { ids: new Set(['id']), fresh: new Set() })).toBe(null)
    expect(naturalKey(from, { ...there, uniques: there.uniques.slice(0, 3) }, { ids: new Set(['id']), fresh: new Set() })).toEqual(['name'])
    expect(naturalKey(from, there, { ids: new Set(['id']), fresh: new Set(['email']) })).toEqual(['name'])
  })

  it('lists what is still to do with its line', () => {
    expect(todosOf('a: 1\n# todo: this\nb: { drop: "todo: that" }')).toEqual([{ line: 2, text: 'todo: this' },
      { line: 3, text: 'todo: that' }])
  })
})
