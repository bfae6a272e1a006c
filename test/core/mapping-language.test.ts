import { describe, expect, it } from 'vitest'
import { parseMapping } from '../../src/config/mapping-files.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import type { TableRule } from '../../src/core/mapping.ts'
import { catalog, table } from '../support/catalog-literals.ts'

/** Every construct of the language once, in the shapes in which real applications keep references. */
const MAIN = `
application: studies
contexts:
  - { name: people, tables: [groups, users, members, preferences] }
  - { name: work, tables: [projects, tags, nodes, runs, files, messages, jobs, links] }
defaults: { truncate: owned, triggers: fire }
entities:
  users: { prefix: usr }
  groups: { id: random, prefix: grp }
  projects: { id: literal, prefix: prj }
  projects.uuid: keep
  tags: { id: offset, by: "1000000" }
  nodes: { prefix: nod, form: opaque }
  wallets: keep
  runs: keep
  messages: keep
  jobs: keep
tables:
  sessions: { verdict: skip, reason: people log in again }
  users:
    verdict: merge
    on: [lower(email), [first, last]]
    keep: source
    rename: { name: { unique: [name], separator: _ } }
    where: { status: [ACTIVE, EXPIRED], deleted: null, role: { not: GUEST }, born: { not: null }, robot: false }
    notAnId: [stripe_id]
    columns:
      email: { keep: destination }
      phone: { keep: { newest: modified } }
      bio: { keep: fill-empty, to: about }
      full: { expression: "{first|trim} {last|trim|upper}{{x}}" }
      secret: { drop: is never carried }
      origin: { constant: moved }
      nothing: { constant: null }
  groups:
    pinned: { 1: 1 }
    adopt: { by: users, column: group_id }
    truncate: refuse
  members:
    truncate: refuse
    key: [user_id, group_id]
    pinned: [{ source: [1, 2], destination: [usr_1, "a\\tb"] }]
    columns:
      user_id: { whenMerged: skip }
  wallets: { verdict: assert }
`
const MORE = `
tables:
  preferences:
    columns:
      payload: { when: { name: [wallet, purse] }, json: [{ path: $.value, ref: wallets }] }
  projects:
    to: studies
    columns:
      name: { template: ["{rest*}/jobs/{projects.uuid}"] }
      ui:
        json:
          - { keys: $.slideshow, ref: nodes }
          - { path: '$.annotations.*.attributes.recipientGid', ref: groups }
          - { path: '$..conversation["the id"]', ref: messages }
      trashed_by: { ref: users }
  nodes:
    columns:
      input_nodes: { array: nodes }
      inputs:
        json:
          - { path: $.*.nodeUuid, ref: nodes }
          - { path: $.*.path, when: { store: [0, "0"] }, template: ["{projects.uuid}/{nodes}/{rest}", "api/{rest:id}/{rest:name}"] }
          - { path: $.*.packed, json: [{ path: "$.list[0].owner", ref: users }] }
  runs:
    columns:
      job: { template: "comp_{users}_{projects.uuid}_{nodes}_{rest}", strict: true }
      dag: { json: [{ keys: $, ref: nodes }, { path: "$.*[*]", ref: nodes }] }
  files:
    columns:
      path: { template: ["{projects.uuid}/{nodes}/{rest}", "exports/{users}/{rest}"] }
  messages:
    columns:
      content: { when: { type: NOTIFICATION }, ref: groups }
  jobs:
    columns:
      subject:
        by: kind
        cases:
          User: { ref: users }
          Pair: { template: "{users}-{groups}" }
          Deep: { by: name, cases: { a: { ref: tags } }, otherwise: copy }
        otherwise: { constant: unknown }
  links:
    columns:
      group_id: { ref: groups }
`
const ID = 'text'
const PEOPLE = { name: 'text', email: 'text', first: 'text', last: 'text', phone: 'text null', modified: 'timestamp with time zone' }
const source = catalog([
  table('groups', { columns: { id: 'bigint', name: 'text' } }),
  table('users', {
    columns: {
      id: 'bigint', ...PEOPLE, bio: 'text', secret: 'text', stripe_id: 'text', group_id: 'bigint', status: 'text', deleted: 'text null',
        role: 'text',
      born: 'text null', robot: 'boolean',
    },
    refs: { group_id: 'groups.id' },
  }),
  table('members', {
    columns: { user_id: 'bigint null', group_id: 'bigint null' }, key: [], refs: { user_id: 'users.id', group_id: 'groups.id' },
    more: { identity: 'f', identityColumns: [] },
  }),
  table('wallets', { columns: { id: 'bigint' } }),
  table('sessions', { columns: { token: 'text' } }),
  table('preferences', { columns: { user_id: 'bigint', name: 'text', payload: 'jsonb' }, key: ['user_id', 'name'],
    refs: { user_id: 'users.id' } }),
  table('projects', { columns: { id: 'bigint', uuid: 'uuid', name: 'text', ui: 'jsonb', trashed_by: 'bigint null' }, unique: [['uuid']] }),
  table('tags', { columns: { id: 'bigint' } }),
  table('nodes', {
    columns: { id: 'uuid', project: 'uuid', input_nodes: 'uuid[]', inputs: 'json' }, refs: { project: 'projects.uuid' },
  }),
  table('runs', { columns: { id: 'bigint', job: 'text', dag: 'jsonb' } }),
  table('files', { columns: { path: 'text' } }),
  table('messages', { columns: { id: 'bigint', type: 'text', content: 'text' } }),
  table('jobs', { columns: { id: 'bigint', kind: 'text', name: 'text', subject: 'text' } }),
  table('links', { columns: { path: 'text', group_id: 'bigint' }, refs: { path: 'files.path' } }),
])
const destination = catalog([
  table('groups', { columns: { id: ID, name: 'text' } }),
  table('users', {
    columns: {
      id: ID, ...PEOPLE, about: 'text', full: 'text', origin: 'text', nothing: 'text null', stripe_id: 'text', group_id: `${ID} null`, status: 'text',
      deleted: 'text null', role: 'text', born: 'text null', robot: 'boolean',
    },
    unique: [['name'], ['lower(email)'], ['first', 'last']], refs: { group_id: 'groups.id' },
  }),
  table('members', { columns: { user_id: `${ID} null`, group_id: `${ID} null` }, key: [], unique: [['user_id', 'group_id']] }),
  table('wallets', { columns: { id: 'bigint' } }),
  table('preferences', { columns: { user_id: ID, name: 'text', payload: 'jsonb' }, key: ['user_id', 'name'] }),
  table('studies', { columns: { id: ID, uuid: 'uuid', name: 'text', ui: 'jsonb', trashed_by: `${ID} null` }, unique: [['uuid']] }),
  table('tags', { columns: { id: 'bigint' } }),
  table('nodes', { columns: { id: ID, project: 'uuid', input_nodes: 'text[]', inputs: 'json' } }),
  table('runs', { columns: { id: 'bigint', job: 'text', dag: 'jsonb' } }),
  table('files', { columns: { path: 'text' } }),
  table('messages', { columns: { id: 'bigint', type: 'text', content: 'text' } }),
  table('jobs', { columns: { id: 'bigint', kind: 'text', name: 'text', subject: 'text' } }),
  table('links', { columns: { path: 'text', group_id: ID } }),
])

const parse = (...texts: string[]) => parseMapping('m', new Map(texts.map((text, i) => [i === 0 ? 'mapping.yaml' : `part${i}.yaml`, text])))

describe('the mapping language', () => {
  const main = MAIN.replace('preferences] }', 'preferences, wallets] }')
  const { mapping, problems } = compileMapping(parse(main, MORE).source, source, destination)
  const rule = (name: string): TableRule => mapping.tables.get(`public.${name}`)!
  const map = (name: string, target: string) => rule(name).columns.find((c) => c.target === target)!.map
  const member = (name: string) => ({ kind: 'member', name })
  const key = (entity: string) => ({ kind: 'key', entity })
  const text = (t: string) => ({ kind: 'literal', text: t })
  const rest = (name = 'rest', greedy = false) => ({ kind: 'rest', name, greedy })

  it('says it all without an error', () => {
    expect(problems.filter((p) => p.severity === 'error')).toEqual([])
    expect(problems.map((p) => `${p.code} ${p.where}`)).toEqual(['EQUAL_ROWS tables.members', 'TARGET_KEY tables.members'])
  })

  it('says how ids are made', () => {
    const strategies = Object.fromEntries([...mapping.entities].map(([name, e]) => [name, e.strategy]))
    expect(strategies).toEqual({
      users: { kind: 'prefixed', form: 'ordered', prefix: 'usr' }, groups: { kind: 'random', prefix: 'grp' },
        projects: { kind: 'literal', prefix: 'prj' },
      'projects.uuid': { kind: 'keep' }, tags: { kind: 'offset', by: 1_000_000n },
        nodes: { kind: 'prefixed', form: 'opaque', prefix: 'nod' },
      wallets: { kind: 'keep' }, runs: { kind: 'keep' }, messages: { kind: 'keep' }, jobs: { kind: 'keep' },
    })
    expect([...mapping.entities.values()].filter((e) => e.decided).map((e) => e.name)).toEqual(['groups', 'users'])
  })

  it('says what becomes of tables', () => {
    expect(rule('sessions')).toMatchObject({ verdict: 'skip', reason: 'people log in again', context: '', columns: [] })
    expect(rule('wallets')).toMatchObject({ verdict: 'assert', context: 'people' })
    expect(rule('projects')).toMatchObject({ target: { schema: 'public', table: 'studies' }, entity: 'projects', truncate: 'owned' })
    expect(rule('groups'))
      .toMatchObject({ pinned: new Map([['1', '1']]), adopt: { by: 'public.users', column: 'group_id' }, truncate: 'refuse',
      triggers: 'fire' })
    expect(rule('members')).toMatchObject({
      key: ['user_id', 'group_id'], targetKey: ['user_id', 'group_id'], entity: null, ledger: true,
      mergedParents: [{ column: 'user_id', entity: 'users', action: 'skip' }], pinned: new Map([['1\t2', 'usr_1\ta\\tb']]),
    })
  })

  it('says how rows are merged', () => {
    expect(rule('users'))
      .toMatchObject({ verdict: 'merge', triggers: 'fire', makes: { filled: ['group_id'] }, rename: [{ column: 'name', unique: ['name'], separator: '_' }] })
    expect(rule('users').merge!.on).toEqual([
      [{ column: 'email', normalise: 'lower' }], [{ column: 'first', normalise: 'exact' }, { column: 'last', normalise: 'exact' }],
    ])
    const keep = rule('users').merge!.keep
    expect([keep.has('email'), keep.has('id'), keep.get('name'), keep.get('about'), keep.get('phone')])
      .toEqual([false, false, 'source', 'fill-empty', { newest: 'modified' }])
    expect(rule('users').where).toEqual([
      { column: 'status', test: 'in', values: ['ACTIVE', 'EXPIRED'] }, { column: 'deleted', test: 'null', values: [] },
      { column: 'role', test: 'not', values: ['GUEST'] }, { column: 'born', test: 'notNull', values: [] },
        { column: 'robot', test: 'equals', values: ['f'] },
    ])
    expect(rule('users').dropped).toEqual([{ column: 'secret', reason: 'is never carried' }])
  })

  it('says what columns are made of', () => {
    expect(map('users', 'full')).toEqual({
      kind: 'expression',
      parts: [
        { kind: 'column', column: 'first', functions: ['trim'] }, text(' '),
          { kind: 'column', column: 'last', functions: ['trim', 'upper'] }, text('{x}'),
      ],
    })
    expect([map('users', 'origin'), map('users', 'nothing')])
      .toEqual([{ kind: 'constant', value: 'moved' }, { kind: 'constant', value: null }])
    expect(map('users', 'group_id')).toEqual({ kind: 'ref', entity: 'groups' })
    expect(map('projects', 'trashed_by')).toEqual({ kind: 'ref', entity: 'users' })
    expect(map('nodes', 'project')).toEqual({ kind: 'copy' })
    expect(map('nodes', 'input_nodes')).toEqual({ kind: 'array', entity: 'nodes' })
  })

  it('says which text has ids in it', () => {
    expect(map('runs', 'job')).toEqual({
      kind: 'template', strict: true,
      templates: [[text('comp_'), key('users'), text('_'), key('projects.uuid'), text('_'), key('nodes'), text('_'), rest()]],
    })
    expect(map('projects', 'name'))
      .toEqual({ kind: 'template', strict: false, templates: [[rest('rest', true), text('/jobs/'), key('projects.uuid')]] })
    const paths = map('files', 'path')
    expect(paths).toMatchObject({ kind: 'template', templates: { length: 2 } })
    expect(map('links', 'path')).toEqual(paths)
  })

  it('says which places of a JSON value are ids', () => {
    expect(map('projects', 'ui')).toEqual({
      kind: 'json',
      edits: [
        { path: [member('slideshow')], at: 'keys', map: { kind: 'ref', entity: 'nodes' }, when: null },
        {
          path: [member('annotations'), { kind: 'members' }, member('attributes'), member('recipientGid')], at: 'value',
          map: { kind: 'ref', entity: 'groups' }, when: null,
        },
        { path: [{ kind: 'deep' }, member('conversation'), member('the id')], at: 'value', map: { kind: 'ref', entity: 'messages' },
          when: null },
      ],
    })
    const edits = (map('nodes', 'inputs') as { edits: readonly unknown[] }).edits
    expect(edits[1]).toMatchObject({ when: { member: 'store', equals: ['0', '0'] }, map: { kind: 'template', templates: { length: 2 } } })
    expect(edits[2]).toMatchObject({
      map: { kind: 'json', edits: [{ path: [member('list'), { kind: 'index', index: 0 }, member('owner')],
        map: { kind: 'ref', entity: 'users' } }] },
    })
    expect(map('runs', 'dag'))
      .toMatchObject({ edits: [{ path: [], at: 'keys' }, { path: [{ kind: 'members' }, { kind: 'items' }], at: 'value' }] })
  })

  it('says what depends on another column', () => {
    expect(map('preferences', 'payload')).toMatchObject({
      kind: 'case', column: 'name', cases: [{ equals: ['wallet', 'purse'], map: { kind: 'json' } }], otherwise: { kind: 'copy' },
    })
    expect(map('messages', 'content')).toEqual({
      kind: 'case', column: 'type', cases: [{ equals: ['NOTIFICATION'], map: { kind: 'ref', entity: 'groups' } }],
        otherwise: { kind: 'copy' },
    })
  })

  it('finds ids of other kinds than the column can hold, in the cases too', () => {
    const narrow = catalog(destination.tables.map((t) => (t.table === 'jobs'
      ? table('jobs', { columns: { id: 'bigint', kind: 'text', name: 'text', subject: 'character varying(24)' } }) : t)))
    const found = compileMapping(parse(main, MORE).source, source, narrow).problems.filter((p) => p.severity === 'error')
    expect(found.map((p) => p.message)).toEqual(['subject: ids of users have up to 30 characters; the column is character varying(24)'])
  })

  it('pins its files by a digest, and knows where things stand', () => {
    const one = parse(main, MORE)
    expect(one.source.digest).toMatch(/^[0-9a-f]{64}$/)
    expect(parse(main, MORE).source.digest).toBe(one.source.digest)
    expect(parse(main, `${MORE}\n`).source.digest).not.toBe(one.source.digest)
    expect(one.place('entities.projects.uuid')).toBe('m/mapping.yaml:11')
    expect(one.place('tables.runs.columns.job.template')).toBe('m/part1.yaml:26')
    expect(one.place('tables.runs.columns.unknown')).toBe('m/part1.yaml:25')
    expect(one.place('public.unknown')).toBe('m')
  })
})
