import { describe, expect, it } from 'vitest'
import type { CatalogTable, CatalogTrigger } from '../../src/core/catalog.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import type { MappingSource, TableSpec } from '../../src/core/compile/mapping-source.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { compile, told, users, USR, usersThere } from '../support/mapping-literals.ts'

describe('compileMapping, table by table', () => {
  it('wants a replica identity and a key that arrives', () => {
    const judge = (more: Partial<CatalogTable>, shape: object = {}, spec: TableSpec = {}) => {
      const t = table('logs', { columns: { a: 'text', b: 'text null' }, ...shape, more })
      const { problems, mapping } = compile({ source: [t], entities: { logs: { id: 'keep' } }, tables: { logs: spec } })
      return [problems.map((p) => p.code).filter((code) => code !== 'ENTITY_KEY'), mapping.tables.get('public.logs')!.key]
    }
    expect(judge({}, { key: [] })).toEqual([['NO_KEY'], []])
    expect(judge({ identity: 'n' })).toEqual([['NO_KEY'], []])
    expect(judge({ identity: 'f', identityColumns: [] }, { key: [] })).toEqual([['EQUAL_ROWS', 'TARGET_KEY'], ['a', 'b']])
    expect(judge({ identity: 'f', identityColumns: [] }, { key: [], unique: [['b'], ['a']] })).toEqual([[], ['a']])
    expect(judge({ identity: 'f', identityColumns: [] }, { key: [], unique: [['b']] })).toEqual([['EQUAL_ROWS', 'TARGET_KEY'], ['b']])
    expect(judge({}, {}, { key: ['b'] })).toEqual([['NO_KEY', 'TARGET_KEY', 'EQUAL_ROWS'], ['b']])
    expect(judge({ identity: 'f' }, { unique: [['b']] }, { key: ['b'] })).toEqual([['EQUAL_ROWS', 'TARGET_KEY'], ['b']])
    expect(judge({}, {}, { columns: { a: { drop: 'not wanted' } } })[0]).toContain('KEY_NOT_CARRIED')
    expect(judge({ persistence: 'u' })[0]).toEqual(['UNLOGGED'])
  })

  it('refuses two tables that are one by name', () => {
    const [ours, theirs] = [table('b.c', { columns: { id: 'bigint' }, more: { schema: 'a' } }), table('c', { columns: { id: 'bigint' }, more: { schema: 'a.b' } })]
    const judge = (source: CatalogTable[], destination: CatalogTable[]): string[] =>
      told({ source, destination, entities: { 'a.b.c': { id: 'keep' } }, tables: { 'a.b.c': { to: 'a.b.c' } }, more: { contexts: [{ name: 'all', tables: ['a.b.c'] }] } })
    expect(judge([ours], [ours])).toEqual([])
    expect(judge([ours, theirs], [ours])).toEqual(['NAME_TWICE tables.a.b.c'])
    expect(judge([ours], [theirs, ours])).toEqual(['NAME_TWICE tables.a.b.c'])
  })

  it('knows which rows of a truncated table are ours only where it has a key', () => {
    const judge = (shape: object, more: Partial<CatalogTable>, truncate: TableSpec['truncate']) => {
      const t = table('logs', { columns: { a: 'text', b: 'text null' }, ...shape, more })
      return compile({ source: [t], entities: { logs: { id: 'keep' } }, tables: { logs: { truncate } } }).problems.map((p) => `${p.severity} ${p.code}`)
    }
    const keyless = { identity: 'f', identityColumns: [] } as const
    expect(judge({ key: [] }, keyless, 'owned')).toContain('error TRUNCATE')
    for (const policy of ['refuse', 'ignore'] as const) expect(judge({ key: [] }, keyless, policy)).not.toContain('error TRUNCATE')
    expect(judge({}, {}, 'owned')).toEqual([])
  })

  it('checks what a merge matches by', () => {
    const source = [users({ email: 'text', name: 'text' })]
    const merge = (on: TableSpec['on'], unique: string[][] = []) => {
      const { problems } = compile({ source, destination: [usersThere({ email: 'text', name: 'text' }, { unique })],
        tables: { users: { verdict: 'merge', on } } })
      return problems.map((p) => p.code)
    }
    expect(merge(['lower(email)'], [['lower((email)::text)']])).toEqual([])
    expect(merge(['lower(trim(email))'], [['lower(btrim(email))']])).toEqual([])
    expect(merge(['lower(email)'], [['email']])).toEqual(['MERGE_INDEX'])
    expect(merge([['email', 'name']], [['name', 'email']])).toEqual([])
    expect(merge(['mail'])).toEqual(['UNKNOWN_COLUMN', 'MERGE_INDEX'])
  })

  it('wants a trigger that fills the column that a maker leaves null', () => {
    const source = [users(), table('posts', { columns: { id: 'bigint', user_id: 'bigint' }, refs: { user_id: 'users.id' } })]
    const judge = (type: string, trigger: Partial<CatalogTrigger> | null) => {
      const triggers: CatalogTrigger[] | null = trigger && [{ name: 't', function: 'f', before: true, row: true, insert: true, update: false, delete: false, enabled: 'O', definition: '', ...trigger }]
      const posts = table('posts', { columns: { id: 'bigint', user_id: type }, refs: { user_id: 'users.id' }, more: triggers ? { triggers } : {} })
      return told({ source, destination: [usersThere(), posts], entities: { users: USR, posts: { id: 'keep' } }, tables: { users: { adopt: { by: 'posts', column: 'user_id' } } } })
        .filter((one) => one.includes('ADOPT'))
    }
    expect(judge('text null', null)).toEqual([])
    expect(judge('text', {})).toEqual([])
    for (const trigger of [null, { before: false }, { row: false }, { insert: false }, { enabled: 'D' }] as const) expect(judge('text', trigger)).toEqual(['warning ADOPT tables.users.adopt'])
  })

  it('checks renames, keeps, pins, adoption and merged parents', () => {
    const source = [users({ name: 'text', n: 'integer' }),
      table('posts', { columns: { id: 'bigint', user_id: 'bigint' }, refs: { user_id: 'users.id' } })]
    const destination = [usersThere({ name: 'text', n: 'integer' }), table('posts', { columns: { id: 'bigint', user_id: 'text' } })]
    const judge = (spec: TableSpec, posts: TableSpec = {}) =>
      told({ source, destination, entities: { users: USR, posts: { id: 'keep' } }, tables: { users: spec, posts } })
    expect(judge({ rename: { name: {} } })).toEqual(['RENAME tables.users.rename.name'])
    expect(judge({ rename: { n: { unique: ['id'] } } })).toEqual(['RENAME tables.users.rename.n', 'RENAME tables.users.rename.n'])
    expect(judge({ keep: 'source' })).toEqual(['KEEP tables.users.keep'])
    expect(judge({ verdict: 'merge', on: ['id'], columns: { name: { keep: { newest: 'when' } }, id: { keep: 'source' } } }))
      .toEqual(['KEEP tables.users.columns.id.keep', 'UNKNOWN_COLUMN tables.users.keep'])
    expect(judge({ pinned: [{ source: [1, 2], destination: ['a', 'b'] }] })).toEqual(['PINNED tables.users.pinned'])
    expect(judge({ adopt: { by: 'posts', column: 'nope' } })).toEqual(['ADOPT tables.users.adopt'])
    // It is no foreign key there, and may not be null.
    expect(judge({ adopt: { by: 'posts', column: 'user_id' } })).toEqual(['warning ADOPT tables.users.adopt', 'warning ADOPT tables.users.adopt'])
    expect(judge({ adopt: { by: 'posts', column: 'user_id' } }, { triggers: 'off' })).toEqual(['ADOPT tables.users.adopt'])
    expect(judge({ adopt: { by: 'nowhere', column: 'user_id' } })).toEqual(['ADOPT tables.users.adopt'])
    expect(judge({ adopt: { by: 'posts', on: ['name'] } })).toEqual(['ADOPT tables.users.adopt'])
    expect(judge({}, { adopt: { by: 'users', on: ['user_id'] } })).toEqual([])
    expect(judge({}, { adopt: { by: 'users', on: ['id'] } })).toEqual([])
    expect(judge({}, { adopt: { by: 'users', on: ['nope'] } })).toEqual(['ADOPT tables.posts.adopt'])
    expect(judge({}, { columns: { user_id: { whenMerged: 'skip' } } })).toEqual(['WHEN_MERGED tables.posts.columns.user_id.whenMerged'])
    expect(judge({ pinned: { 1: 'usr_1' } }, { columns: { user_id: { whenMerged: 'skip' } } })).toEqual([])
  })

  it('warns of triggers that nobody spoke of, of row security and of identity columns', () => {
    const trigger = (enabled: CatalogTrigger['enabled']): CatalogTrigger =>
      ({ name: 'touch', function: 'public.touch', before: true, row: true, insert: true, update: true, delete: false, enabled,
        definition: '' })
    const judge = (enabled: CatalogTrigger['enabled'], triggers?: 'fire' | 'off') =>
      told({ source: [users()], destination: [usersThere({}, { more: { triggers: [trigger(enabled)] } })],
        tables: { users: { triggers } } })
    expect(judge('O')).toEqual(['warning TRIGGER tables.users.triggers'])
    expect(judge('O', 'fire')).toEqual([])
    expect(judge('O', 'off')).toEqual([])
    expect(judge('A', 'off')).toEqual(['warning TRIGGER tables.users.triggers'])
    expect(judge('D')).toEqual([])
    expect(told({ source: [users({}, { more: { rowSecurity: true } })], destination: [usersThere()] }))
      .toEqual(['warning ROW_SECURITY tables.users'])
    expect(told({ source: [users()], destination: [users({ id: 'bigint always' })], entities: { users: { id: 'keep' } } }))
      .toEqual(['warning IDENTITY_ALWAYS tables.users.columns.id'])
  })

  it('warns of contexts in the wrong order and of cycles, but not of a table that points at itself', () => {
    const pair = (id: string) => [
      table('users', { columns: { id, group_id: `${id} null`, boss_id: `${id} null` },
        refs: { group_id: 'groups.id', boss_id: 'users.id' } }),
      table('groups', { columns: { id, owner_id: `${id} null` }, refs: { owner_id: 'users.id' } }),
    ]
    const given = { source: pair('bigint'), destination: pair('text'), entities: { users: USR, groups: { ...USR, prefix: 'grp' } } }
    const contexts = [{ name: 'first', tables: ['users'] }, { name: 'second', tables: ['groups'] }]
    const { problems } = compile({ ...given, more: { contexts } })
    expect(problems.map((p) => [p.severity, p.code])).toEqual([['warning', 'CONTEXT_ORDER'], ['warning', 'CYCLE']])
    expect(problems[0].message).toBe('users (first) points at groups (second), which comes later: users.group_id')
    expect(problems[1].where).toBe('public.groups, public.users')
  })

  it('warns where a copied value may not fit or change its meaning', () => {
    const messages = (from: string, to: string) =>
      compile({ source: [users({ c: from })], destination: [usersThere({ c: to })] }).problems.map((p) => `${p.code} ${p.message}`)
    expect(messages('integer', 'bigint')).toEqual([])
    expect(messages('character varying(10)', 'text')).toEqual([])
    expect(messages('text', 'character varying(10)')).toEqual(['TYPE_DIFFERS c: text may be longer than character varying(10)'])
    expect(messages('timestamp without time zone', 'timestamp with time zone'))
      .toEqual(['TYPE_DIFFERS c: timestamp without time zone becomes timestamp with time zone'])
    const spec: MappingSource = {
      application: 't', digest: '', schemas: { source: 'public', destination: 'public' }, defaults: {}, entities: { users: USR },
        tables: {},
      contexts: [{ name: 'a', tables: ['users'] }],
    }
    const source = catalog([users({ c: 'public.mood' })], { 'public.mood': ['sad', 'ok'] })
    expect(compileMapping(spec, source, catalog([usersThere({ c: 'public.mood' })], { 'public.mood': ['ok'] })).problems
      .map((p) => p.message))
      .toEqual(['c: public.mood lacks the labels sad'])
  })
})
