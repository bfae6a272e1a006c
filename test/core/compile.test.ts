import { describe, expect, it } from 'vitest'
import type { IdSpec, TableSpec } from '../../src/core/compile/mapping-source.ts'
import { table } from '../support/catalog-literals.ts'
import { compile, told, users, USR, usersThere } from '../support/mapping-literals.ts'

describe('compileMapping', () => {
  it('has nothing to say of a mapping that fits', () => {
    const given = {
      source: [users({ name: 'text' }), table('posts', { columns: { id: 'bigint', author: 'bigint null' }, refs: { author: 'users.id' } })],
      destination: [usersThere({ name: 'text' }), table('posts', { columns: { author: 'text null', id: 'text' }, key: ['id'] })],
      entities: { users: USR, posts: { id: 'prefixed', prefix: 'pst', form: 'opaque' } satisfies IdSpec },
    }
    const { mapping, problems } = compile(given)
    expect(problems).toEqual([])
    expect(mapping.contexts).toEqual([{ name: 'all', tables: ['public.users', 'public.posts'] }])
    expect(mapping.tables.get('public.posts')).toEqual({
      source: { schema: 'public', table: 'posts' }, target: { schema: 'public', table: 'posts' }, context: 'all', verdict: 'move',
        reason: null,
      key: ['id'], targetKey: ['id'], keyed: true, entity: 'posts', ledger: false, dropped: [], former: new Map(), added: new Map(), where: [], merge: null, rename: [],
      pinned: new Map(),
      mergedParents: [], triggers: 'fire', adopt: null, truncate: 'refuse', objects: [], parents: [{ columns: ['author'], table: 'public.users' }],
      columns: [
        { target: 'author', type: 'text', source: 'author', map: { kind: 'ref', entity: 'users' } },
        { target: 'id', type: 'text', source: 'id', map: { kind: 'ref', entity: 'posts' } },
      ],
    })
    expect(mapping.entities.get('posts')).toEqual({
      name: 'posts', table: 'public.posts', column: 'id', strategy: { kind: 'prefixed', form: 'opaque', prefix: 'pst' }, decided: false,
    })
  })

  it('follows a composite key column by column, through keys that are references themselves', () => {
    const source = [
      users(),
      table('desks', { columns: { user_id: 'bigint', no: 'integer' }, key: ['user_id', 'no'], refs: { user_id: 'users.id' } }),
      table('lamps', { columns: { id: 'bigint', desk_no: 'integer', desk_user: 'bigint' },
        refs: { 'desk_user, desk_no': 'desks.user_id, no' } }),
    ]
    const destination = [
      usersThere(),
      table('desks', { columns: { user_id: 'text', no: 'integer' }, key: ['user_id', 'no'] }),
      table('lamps', { columns: { id: 'bigint', desk_no: 'integer', desk_user: 'text' } }),
    ]
    const { mapping, problems } = compile({ source, destination, entities: { users: USR, lamps: { id: 'keep' } } })
    expect(problems).toEqual([])
    expect(mapping.tables.get('public.lamps')!.columns.map((c) => c.map))
      .toEqual([{ kind: 'copy' }, { kind: 'copy' }, { kind: 'ref', entity: 'users' }])
    expect(mapping.tables.get('public.desks'))
      .toMatchObject({ entity: null, ledger: true, key: ['user_id', 'no'], targetKey: ['user_id', 'no'] })
  })

  it('follows foreign keys that only the destination has', () => {
    const source = [users(), table('posts', { columns: { id: 'bigint', author_id: 'bigint' } })]
    const destination = [usersThere(), table('posts', { columns: { id: 'bigint', writer: 'text' }, refs: { writer: 'users.id' } })]
    const tables = { posts: { columns: { author_id: { to: 'writer' } } } }
    const { mapping, problems } = compile({ source, destination, entities: { users: USR, posts: { id: 'keep' } }, tables })
    expect(problems).toEqual([])
    expect(mapping.tables.get('public.posts')!.columns[1])
      .toEqual({ target: 'writer', type: 'text', source: 'author_id', map: { kind: 'ref', entity: 'users' } })
  })

  it('asks the ledger wherever an id cannot be computed or does not prove itself', () => {
    const ledger = (spec: TableSpec, id: IdSpec = USR, there = usersThere({ email: 'text' })) => {
      const { mapping } = compile({ source: [users({ email: 'text' })], destination: [there], tables: { users: spec },
        entities: { users: id } })
      return [mapping.tables.get('public.users')!.ledger, mapping.entities.get('users')!.decided]
    }
    expect(ledger({})).toEqual([false, false])
    expect(ledger({ verdict: 'merge', on: ['email'] })).toEqual([true, true])
    expect(ledger({ pinned: { '1': 'usr_one' } })).toEqual([true, true])
    expect(ledger({ adopt: { by: 'users', column: 'email' } })).toEqual([true, true])
    expect(ledger({}, { id: 'random', prefix: 'usr' })).toEqual([true, true])
    expect(ledger({}, { id: 'literal', prefix: 'usr' })).toEqual([true, false])
    expect(ledger({}, { id: 'keep' })).toEqual([true, false])
    expect(ledger({}, { id: 'offset', by: 100 }, users({ email: 'text' }))).toEqual([true, false])
  })

  it('finds names that do not exist', () => {
    const tables: Record<string, TableSpec> = {
      users: { columns: { nme: { ref: 'users' }, name: { ref: 'people' } }, where: { gone: null }, notAnId: ['none'] },
      ghosts: { verdict: 'skip', reason: 'not there' },
    }
    expect(told({ source: [users({ name: 'text' })], destination: [usersThere({ name: 'text' })], tables,
      entities: { users: USR, 'users.no': { id: 'keep' } } })).toEqual([
      'UNKNOWN_TABLE tables.ghosts', 'UNKNOWN_ENTITY entities.users.no', 'UNKNOWN_COLUMN tables.users.columns.nme',
      'UNKNOWN_ENTITY tables.users.columns.name.ref', 'UNKNOWN_COLUMN tables.users.where', 'UNKNOWN_COLUMN tables.users.notAnId',
    ])
    expect(told({ source: [users()], destination: [] })).toEqual(['UNKNOWN_TABLE contexts.0.tables.0'])
  })

  it('wants a verdict for every table, but not for partitions, views and temporary tables', () => {
    const source = [
      users(), table('extra', { columns: { x: 'text' } }),
        table('part', { columns: { x: 'text' }, more: { parent: { schema: 'public', table: 'users' } } }),
      table('view', { columns: { x: 'text' }, more: { kind: 'v' } }), table('temp', { columns: { x: 'text' }, more: { persistence: 't' } }),
    ]
    const more = { contexts: [{ name: 'a', tables: ['users'] }, { name: 'b', tables: ['users', 'part'] }] }
    expect(told({ source, destination: [usersThere()], more }))
      .toEqual(['TABLE_TWICE contexts.1.tables.0', 'UNKNOWN_TABLE contexts.1.tables.1', 'TABLE_UNDECIDED public.extra'])
    expect(told({ source: [users()], destination: [usersThere()], more: { contexts: [] }, tables: { users: {} } }))
      .toEqual(['NO_CONTEXT tables.users'])
  })

  it('wants a verdict for every column of both sides', () => {
    const source = [users({ nick: 'text', old: 'text', made: 'text generated' })]
    const destination = [usersThere({ alias: 'text', free: 'text null', now: 'text default', made: 'text null', sum: 'text generated' })]
    expect(told({ source, destination })).toEqual([
      'COLUMN_UNDECIDED tables.users.columns.nick', 'COLUMN_UNDECIDED tables.users.columns.old',
        'COLUMN_UNFILLED tables.users.columns.alias',
    ])
    const columns = { nick: { to: 'alias' }, old: { drop: 'nobody reads it' }, free: { constant: 'x' } }
    const { mapping, problems } = compile({ source, destination, tables: { users: { columns } } })
    expect(problems).toEqual([])
    expect(mapping.tables.get('public.users')).toMatchObject({
      columns: [{ target: 'id' }, { target: 'alias', source: 'nick' },
        { target: 'free', source: null, map: { kind: 'constant', value: 'x' } }],
      dropped: [{ column: 'old', reason: 'nobody reads it' }, { column: 'made', reason: 'generated at the source' }],
    })
  })

  it('never writes a generated column, and fills none twice', () => {
    const source = [users({ a: 'text', b: 'text' })]
    const destination = [usersThere({ a: 'text', b: 'text generated' })]
    expect(compile({ source, destination }).mapping.tables.get('public.users')!.columns.map((c) => c.target)).toEqual(['id', 'a'])
    expect(told({ source, destination, tables: { users: { columns: { b: { constant: 'x' } } } } }))
      .toEqual(['UNKNOWN_COLUMN tables.users.columns.b'])
    expect(told({ source, destination, tables: { users: { columns: { b: { to: 'a' } } } } }))
      .toEqual(['COLUMN_TWICE tables.users.columns.b'])
    const constant = { columns: { a: { constant: null } } }
    expect(told({ source, destination, tables: { users: constant } })).toEqual(['NOT_NULL tables.users.columns.a'])
  })

  it.each(['group_id', 'owner', 'gid', 'created_by', 'uuid', 'memberIds', 'parent_uuid', 'shared_uids'])('asks what %s is', (name) => {
    for (const type of ['bigint', 'text', 'uuid', 'bigint[]']) {
      const given = { source: [users({ [name]: type })], destination: [usersThere({ [name]: type })] }
      expect(told(given)).toEqual([`ID_UNDECIDED tables.users.columns.${name}`])
      expect(told({ ...given, tables: { users: { notAnId: [name] } } })).toEqual([])
    }
  })

  it.each(['paid', 'grid', 'width', 'standby', 'identity', 'ownership'])('does not take %s for an id', (name) => {
    expect(told({ source: [users({ [name]: 'bigint' })], destination: [usersThere({ [name]: 'bigint' })] })).toEqual([])
  })

  it.each<[string, IdSpec, string, string, string | null]>([
    ['text into bigint', USR, 'bigint', 'bigint', 'ids of users are text; the column is bigint'],
    ['text into uuid', USR, 'bigint', 'uuid', 'ids of users are text; the column is uuid'],
    ['30 characters into 29', USR, 'bigint', 'character varying(29)',
      'ids of users have up to 30 characters; the column is character varying(29)'],
    ['30 characters into 30', USR, 'bigint', 'character varying(30)', null],
    ['literal into too few', { id: 'literal', prefix: 'usr' }, 'bigint', 'character varying(10)',
      'ids of users have up to 24 characters; the column is character varying(10)'],
    ['offset into uuid', { id: 'offset', by: 5 }, 'bigint', 'uuid', 'an offset gives integers; the column is uuid'],
    ['offset into text', { id: 'offset', by: 5 }, 'bigint', 'text', null],
    ['large offset into integer', { id: 'offset', by: '3000000000' }, 'integer', 'integer',
      'keys with the offset 3000000000 do not fit into integer'],
    ['bigint keys into integer', { id: 'offset', by: 5 }, 'bigint', 'integer', 'keys are bigint at the source; the column is integer'],
    ['offset into bigint', { id: 'offset', by: '-3000000000' }, 'integer', 'bigint', null],
  ])('judges whether ids fit: %s', (_, id, key, type, message) => {
    const source = [table('users', { columns: { id: key } }),
      table('posts', { columns: { n: 'text', author: key }, refs: { author: 'users.id' } })]
    const destination = [
      table('users', { columns: { id: id.id === 'offset' ? 'bigint' : 'text' } }), table('posts', { columns: { n: 'text', author: type } }),
    ]
    const entities: Record<string, IdSpec> = { users: id, posts: { id: 'keep' } }
    const problems = compile({ source, destination, entities }).problems.filter((p) => p.where.endsWith('author'))
    expect(problems.map((p) => p.message)).toEqual(message === null ? [] : [`author: ${message}`])
  })

  it('wants integers for ordered ids and offsets, and a strategy for every key', () => {
    const source = [table('users', { columns: { id: 'uuid' } })]
    const ordered: IdSpec = { ...USR, form: 'ordered' }
    expect(told({ source, destination: [usersThere()], entities: { users: ordered } })).toEqual(['ID_STRATEGY entities.users'])
    expect(compile({ source, destination: [usersThere()] }).mapping.entities.get('users')!.strategy).toMatchObject({ form: 'opaque' })
    expect(told({ source, entities: {} })).toEqual(['ENTITY_ID tables.users'])
    expect(told({ source, entities: {}, more: { defaults: { id: { id: 'keep' } } } })).toEqual([])
  })

  it('refuses entities that are none', () => {
    const source = [
      users(), table('pairs', { columns: { a: 'bigint', b: 'bigint' }, key: ['a', 'b'] }),
        table('notes', { columns: { user_id: 'bigint' }, refs: { user_id: 'users.id' } }),
    ]
    const destination = [usersThere(), table('pairs', { columns: { a: 'bigint', b: 'bigint' }, key: ['a', 'b'] }),
      table('notes', { columns: { user_id: 'text' } })]
    const keep: IdSpec = { id: 'keep' }
    expect(told({ source, destination,
      entities: { users: USR, pairs: keep, notes: keep, 'users.id': keep, 'pairs.a': { id: 'offset', by: 1 } } })).toEqual([
      'ENTITY_KEY entities.pairs', 'ENTITY_KEY entities.notes', 'ENTITY_KEY entities.users.id',
        'warning ENTITY_NOT_UNIQUE entities.pairs.a',
    ])
    const two = [users(), table('groups', { columns: { id: 'bigint' } })]
    const there = [usersThere(), table('groups', { columns: { id: 'text' } })]
    expect(told({ source: two, destination: there, entities: { users: USR, groups: USR } })).toEqual(['SAME_PREFIX entities.groups.prefix'])
  })

  it('says that a parent is skipped, or made from its row', () => {
    const source = [users({ code: 'text' }), table('posts', { columns: { n: 'text', by_code: 'text' }, refs: { by_code: 'users.code' } })]
    const destination = [usersThere({ code: 'text' }), source[1]]
    const entities: Record<string, IdSpec> = { users: USR, posts: { id: 'keep' } }
    expect(told({ source, destination, entities, tables: { users: { verdict: 'skip', reason: 'left out' } } }))
      .toEqual(['PARENT_SKIPPED tables.posts.columns.by_code'])
    const tables = { users: { columns: { code: { ref: 'posts', when: { id: 1 } } } } }
    expect(told({ source, destination, entities, tables })).toEqual(['REFERENCE_BY_ROW tables.posts.columns.by_code'])
    expect(told({ source, destination, entities, tables: { ...tables, posts: { columns: { by_code: { constant: 'x' } } } } })).toEqual([])
  })
})
