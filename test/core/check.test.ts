import { describe, expect, it } from 'vitest'
import type { Catalog } from '../../src/core/catalog.ts'
import { judgeAccess } from '../../src/core/check/access.ts'
import type { DestinationFacts, RoleFact, SideFacts, SourceFacts, TableFact } from '../../src/core/check/facts.ts'
import { judgeMapping } from '../../src/core/check/mapping.ts'
import { judgeRedis } from '../../src/core/check/redis.ts'
import { judgeReplication } from '../../src/core/check/replication.ts'
import { judgeSchema } from '../../src/core/check/schema.ts'
import { judgeCapacity, judgeServers } from '../../src/core/check/server.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import type { TypeFact } from '../../src/core/ddl/facts.ts'
import { type Finding, refuseFindings, sortFindings } from '../../src/core/check/finding.ts'
import type { MappingSource, TableSpec } from '../../src/core/compile/mapping-source.ts'
import { catalog, table } from '../support/catalog-literals.ts'

const ROLE: RoleFact = {
  name: 'mover', superuser: false, replication: true, database: 'shop', databaseOid: '5', inRecovery: false, create: true, temp: true,
}
const SIDE: SideFacts = {
  settings: {
    wal_level: 'logical', max_replication_slots: '10', max_wal_senders: '10', wal_sender_timeout: '60000', max_slot_wal_keep_size: '102400',
    logical_decoding_work_mem: '65536', max_connections: '100', superuser_reserved_connections: '3', fsync: 'on', synchronous_commit: 'on',
    synchronous_standby_names: '',
  },
  role: ROLE, tables: [], types: [], backends: 1, senders: 0,
}
const SOURCE: SourceFacts = { ...SIDE, slots: [], publication: 'none', transactions: [], prepared: [], largeObjects: 0, inherited: [],
  largest: [] }
const DESTINATION: DestinationFacts = { ...SIDE, replicaRole: true, rekeySchema: null }
const USERS = { schema: 'public', table: 'users' }
const users = table('users', { columns: { id: 'bigint', name: 'text' } })
const set = (settings: Record<string, string>) => ({ settings: { ...SIDE.settings, ...settings } })
const codes = (findings: readonly Finding[]) => findings.map((f) => `${f.severity} ${f.code} ${f.subject}`)

function replication(facts: Partial<SourceFacts>, tables = [users]) {
  return judgeReplication({
    source: { ...catalog(tables), database: 'shop' }, facts: { ...SOURCE, ...facts }, captured: tables, slot: 'rekey_a',
      publication: 'rekey_a',
  })
}

describe('replication', () => {
  it('has nothing to say of a source that is ready', () => expect(replication({})).toEqual([]))

  it('wants logical WAL, a free slot, free senders and a sane timeout', () => {
    const slot = { name: 'other', plugin: 'pgoutput', database: 'shop', temporary: false, pid: null, walStatus: 'reserved',
      invalidation: null }
    const found = replication({
      ...set({ wal_level: 'replica', max_replication_slots: '1', max_wal_senders: '2', wal_sender_timeout: '0',
        idle_replication_slot_timeout: '60' }),
      slots: [slot], senders: 1,
    })
    expect(codes(found)).toEqual([
      'error WAL_LEVEL source', 'error NO_SLOT_FREE source', 'warning NO_SENDER_FREE source', 'warning WAL_SENDER_TIMEOUT source',
      'warning IDLE_SLOT_TIMEOUT source',
    ])
    expect(found[1].fix).toContain('max_replication_slots = 5')
    expect(codes(replication({ senders: 10 }))).toEqual(['error NO_SENDER_FREE source'])
  })

  it('says what is with the slot of that name', () => {
    const slot = { name: 'rekey_a', plugin: 'pgoutput', database: 'shop', temporary: false, pid: null, walStatus: 'reserved',
      invalidation: null }
    const of = (more: Partial<typeof slot> | { pid: number } | { invalidation: string }) =>
      codes(replication({ slots: [{ ...slot, ...more }] }))
    expect(of({})).toEqual(['info SLOT_EXISTS slot rekey_a'])
    expect(of({ pid: 7 })).toEqual(['warning SLOT_IN_USE slot rekey_a'])
    expect(of({ walStatus: 'lost' })).toEqual(['error SLOT_LOST slot rekey_a'])
    expect(of({ invalidation: 'idle_timeout' })).toEqual(['error SLOT_LOST slot rekey_a'])
    expect(of({ plugin: 'wal2json' })).toEqual(['error SLOT_FOREIGN slot rekey_a'])
  })

  it('compares the publication with the mapping', () => {
    const whole = { allTables: false, viaRoot: true, allChanges: true, tables: [{ name: 'public.users', filtered: false }] }
    expect(replication({ publication: whole })).toEqual([])
    const [found] = replication({ publication: { ...whole, viaRoot: false, tables: [{ name: 'public.old', filtered: true }] } })
    expect(found).toMatchObject({ code: 'PUBLICATION', severity: 'error', subject: 'publication rekey_a' })
    for (const word of ['lacks public.users', 'also public.old', 'filters public.old',
      'via_partition_root']) expect(found.message).toContain(word)
    expect(found.fix).toContain('for table only "public"."users" with (publish_via_partition_root = true)')
  })

  it('gives the statement that makes each table followable', () => {
    const keyless = (more: object, shape = {}) =>
      table('t', { columns: { a: 'bigint', b: 'text' }, key: [], ...shape, more: { identityColumns: [], ...more } })
    const fix = (t: ReturnType<typeof table>) => replication({}, [t])[0].fix
    expect(fix(keyless({}))).toBe('alter table "public"."t" replica identity full;')
    expect(fix(keyless({}, { unique: [['a']] }))).toBe('alter table "public"."t" replica identity using index "t_1";')
    const nothing = table('t', { columns: { a: 'bigint' }, more: { identity: 'n', identityColumns: [] } })
    expect(fix(nothing)).toBe('alter table "public"."t" replica identity default;')
    const deferred = { ...nothing, identity: 'd' as const, primaryKey: { ...nothing.primaryKey!, deferrable: true },
      uniques: [{ ...nothing.primaryKey!, deferrable: true }] }
    expect(fix(deferred)).toBe('alter table "public"."t" replica identity full;')
  })

  it('names the transactions that a new slot would wait for', () => {
    const open = { transactions: [{ pid: 9, seconds: 600, application: 'report' }],
      prepared: [{ gid: "it's", database: 'shop', seconds: 5 }] }
    const found = replication(open)
    expect(codes(found)).toEqual(["error PREPARED_TRANSACTION it's", 'warning LONG_TRANSACTION process 9'])
    expect([found[0].fix, found[1].fix]).toEqual([expect.stringContaining("rollback prepared 'it''s';"),
      expect.stringContaining('pg_terminate_backend(9)')])
  })
})

describe('access', () => {
  const all: TableFact = { name: 'public.users', usage: true, owner: true, select: true, insert: true, update: true, delete: true,
    hidden: false }
  const access = (source: Partial<SourceFacts>, destination: Partial<DestinationFacts> = {}, checks: 'engine' | 'set' = 'engine', rebuild = false) =>
    judgeAccess({
    source: { ...SOURCE, tables: [all], ...source }, destination: { ...DESTINATION, tables: [all], ...destination },
    captured: [USERS], written: [USERS], checks, triggersOff: false, rebuild,
  })

  it('has nothing to say of roles that may', () => expect(access({})).toEqual([]))

  it('says each right that the source lacks, with the grant', () => {
    const found = access({ role: { ...ROLE, replication: false, create: false },
      tables: [{ ...all, usage: false, owner: false, select: false, hidden: true }] })
    expect(codes(found)).toEqual([
      'error REPLICATION role mover', 'error CREATE role mover', 'error USAGE public.users', 'error PRIVILEGE public.users',
      'error ROW_SECURITY public.users', 'error OWNER public.users',
    ])
    expect(found[3].fix).toBe('grant select on "public"."users" to "mover";')
  })

  it('asks for no ownership when the publication is there already', () => {
    const publication = { allTables: false, viaRoot: true, allChanges: true, tables: [{ name: 'public.users', filtered: false }] }
    expect(access({ publication, role: { ...ROLE, create: false }, tables: [{ ...all, owner: false }] })).toEqual([])
  })

  it('asks for ownership at the destination when indexes are rebuilt', () => {
    const foreign = { tables: [{ ...all, owner: false }] }
    expect(codes(access({}, foreign))).toEqual([])
    expect(codes(access({}, foreign, 'engine', true))).toEqual(['error OWNER public.users'])
  })

  it('says each right that the destination lacks', () => {
    const found = access({}, { role: { ...ROLE, create: false, temp: false }, tables: [{ ...all, insert: false, delete: false }],
      replicaRole: false }, 'set')
    expect(codes(found)).toEqual(['error PRIVILEGE public.users', 'error CREATE role mover', 'error TEMP role mover',
      'error REPLICA_ROLE role mover'])
    expect(found[0].fix).toBe('grant insert, delete on "public"."users" to "mover";')
    expect(access({}, { role: { ...ROLE, create: false }, rekeySchema: true })).toEqual([])
    expect(codes(access({}, { replicaRole: false }))).toEqual([])
  })
})

describe('servers', () => {
  const servers = (source: Partial<Catalog>, destination: Partial<Catalog> = {}, facts: Partial<DestinationFacts> = {}) => ({
    source: { catalog: { ...catalog([]), major: 17, versionNum: 170_009, systemId: '1', ...source }, facts: SOURCE },
    destination: { catalog: { ...catalog([]), major: 18, versionNum: 180_001, systemId: '2', ...destination },
      facts: { ...DESTINATION, ...facts } },
    connections: 6,
  })

  it('checks versions, encodings, and that there are two of them', () => {
    expect(judgeServers(servers({}))).toEqual([])
    expect(codes(judgeServers(servers({ major: 13, versionNum: 130_010 },
      { major: 19, versionNum: 190_000 })))).toEqual(['error VERSION source', 'warning VERSION destination'])
    expect(codes(judgeServers(servers({ major: 15, versionNum: 150_012 })))).toEqual(['warning OLD_MINOR source',
      'info MINOR_AHEAD source'])
    expect(codes(judgeServers(servers({ encoding: 'SQL_ASCII' }, { encoding: 'LATIN1' })))).toEqual(['error ENCODING source',
      'warning ENCODING destination'])
    expect(codes(judgeServers(servers({}, { systemId: '1' })))).toEqual(['error SAME_DATABASE destination'])
    expect(judgeServers(servers({}, { systemId: '1' }, { role: { ...ROLE, databaseOid: '6' } }))).toEqual([])
    expect(codes(judgeServers(servers({}, {}, { role: { ...ROLE, inRecovery: true } })))).toEqual(['error STANDBY destination'])
  })

  it('tells what disks, connections and failovers can cost', () => {
    expect(judgeCapacity(servers({}))).toEqual([])
    const poor = servers({}, {}, { ...set({ max_connections: '8', fsync: 'off' }), senders: 1, backends: 4 })
    expect(codes(judgeCapacity(poor))).toEqual([
      'warning NOT_DURABLE destination', 'warning ASYNCHRONOUS_STANDBY destination', 'error CONNECTIONS destination',
    ])
    const walled = { ...poor, source: { ...poor.source,
      facts: { ...SOURCE, ...set({ max_slot_wal_keep_size: '-1', logical_decoding_work_mem: '4096' }) } } }
    expect(codes(judgeCapacity(walled)).slice(0, 2)).toEqual(['warning WAL_UNLIMITED source', 'info DECODING_MEMORY source'])
  })
})

describe('schema and mapping', () => {
  const kind = (name: string, more: Partial<TypeFact>): TypeFact =>
    ({ name, kind: 'e', base: '', notNull: false, default: null, checks: [], attributes: [], labels: [], ...more })
  const from = table('users', { columns: { id: 'bigint', mood: 'public.mood', mail: 'public.mail', up: 'text generated' } })
  const to = table('users', { columns: { id: 'text', mood: 'public.mood', mail: 'public.mail' } })

  function inputs({ tables = {}, source = {}, destination = {}, there = to }: {
    tables?: Record<string, TableSpec>; source?: Partial<SourceFacts>; destination?: Partial<DestinationFacts>; there?: typeof to
  }) {
    const spec: MappingSource = {
      application: 't', digest: '', schemas: { source: 'public', destination: 'public' }, defaults: {},
        entities: { users: { id: 'prefixed', prefix: 'usr' } },
      contexts: [{ name: 'all', tables: ['users'] }], tables,
    }
    const catalogs = { source: catalog([from]), destination: { ...catalog([there]), collation: 'en_US.UTF-8' } }
    const { mapping, problems } = compileMapping(spec, catalogs.source, catalogs.destination)
    const input = {
      mapping, source: { catalog: catalogs.source, facts: { ...SOURCE, ...source } },
        destination: { catalog: catalogs.destination, facts: { ...DESTINATION, ...destination } },
    }
    return { input, mapping, problems }
  }

  it('compares types by their definitions', () => {
    const { input } = inputs({
      source: { types: [kind('public.mood', { labels: ['a', 'b', "c'"] }),
        kind('public.mail', { kind: 'd', base: 'text', checks: ['CHECK (1)'] })] },
      destination: { types: [kind('public.mood', { labels: ['b', 'a'] }), kind('public.mail', { kind: 'd', base: 'text' })] },
    })
    const found = judgeSchema(input)
    expect(codes(found)).toEqual(['warning ENUM_LABELS public.mood', 'info ENUM_ORDER public.mood',
      'warning TYPE_DEFINITION public.mail', 'info GENERATED public.users'])
    expect(found[0].fix).toBe("alter type public.mood add value 'c''';")
  })

  it('finds values that are too large, ids in a linguistic order, and sequences that will collide', () => {
    const there = { ...to, columns: to.columns.map((c) => (c.name === 'id' ? { ...c, collation: 'default' } : c)) }
    const { input } = inputs({ there, source: { largest: [{ table: 'public.users', column: 'mail', type: 'bytea', bytes: 600e6 }],
      largeObjects: 2 } })
    const sequence = { schema: 'public', table: 'users_mood_seq', last: '5', ownedBy: 'public.users.mood' }
    const destination = { ...input.destination, catalog: { ...input.destination.catalog, sequences: [sequence] } }
    const found = judgeSchema({ ...input, destination })
    expect(codes(found)).toEqual([
      'error VALUE_TOO_LARGE public.users.mail', 'warning ID_COLLATION public.users', 'warning SEQUENCE public.users.mood',
        'info GENERATED public.users',
      'warning LARGE_OBJECTS source',
    ])
    expect(found[2].fix).toContain(`select setval('"public"."users_mood_seq"', (select max("mood") from "public"."users") + 1000);`)
  })

  it('passes the problems of the mapping on, and refuses what is still to be decided', () => {
    const { mapping, problems } = inputs({ tables: { users: { verdict: 'skip', reason: 'todo: who knows' } } })
    const placed = [...problems, { code: 'X', where: 'tables.users', message: 'm', fix: 'f', severity: 'warning' as const,
      place: 'mapping.yaml:3' }]
    expect(codes(judgeMapping(mapping, { problems: placed, told: [], checks: 'engine' }))).toEqual(['warning X mapping.yaml:3 tables.users', 'error TODO public.users'])
    const keyless = replication({}, [table('t', { columns: { a: 'bigint' }, key: [], more: { identityColumns: [] } })])
    expect(judgeMapping(inputs({}).mapping, { problems: [{ code: 'NO_KEY', where: 'tables.t', message: 't has no replica identity', fix: '',
      severity: 'error' }], told: keyless, checks: 'engine' })).toEqual([])
  })

  it('refuses triggers that are to be off where they cannot be', () => {
    const { mapping } = inputs({ tables: { users: { triggers: 'off' } } })
    const judged = (checks: 'engine' | 'set') => codes(judgeMapping(mapping, { problems: [], told: [], checks }))
    expect([judged('engine'), judged('set')]).toEqual([['error TRIGGERS_OFF public.users'], []])
  })

  it('sorts by group and gravity, and refuses errors alone', () => {
    const finding = (group: Finding['group'], severity: Finding['severity']): Finding =>
      ({ group, severity, code: 'C', subject: 's', message: 'm', fix: '' })
    const sorted = sortFindings([finding('mapping', 'info'), finding('replication', 'warning'), finding('mapping', 'error')])
    expect(sorted.map((f) => `${f.group} ${f.severity}`)).toEqual(['replication warning', 'mapping error', 'mapping info'])
    expect(() => refuseFindings(sorted)).toThrow(expect.objectContaining({ code: 'PREFLIGHT', exit: 5 }))
    expect(() => refuseFindings(sorted.filter((f) => f.severity !== 'error'))).not.toThrow()
  })
})

describe('the server of the id map', () => {
  const GOOD = { version: '7.0.15', policy: 'noeviction', role: 'master' }
  const judge = (url: string, facts: Parameters<typeof judgeRedis>[0]['facts'] = GOOD) => codes(judgeRedis({ url, facts }))

  it('is fine on the own machine, and with a password and TLS on another', () => {
    expect(judge('redis://127.0.0.1:6379')).toEqual([])
    expect(judge('redis://[::1]')).toEqual([])
    expect(judge('rediss://u:p@cache.lab.test:6380/1')).toEqual([])
  })

  it('that is away, evicts, follows another or is open to all is told, and stops nothing', () => {
    expect(judge('redis://127.0.0.1', null)).toEqual(['warning REDIS_AWAY redis'])
    expect(judge('redis://127.0.0.1', { ...GOOD, policy: 'allkeys-lru', role: 'slave' })).toEqual(['warning REDIS_REPLICA redis', 'warning REDIS_EVICTION redis'])
    expect(judge('redis://cache.lab.test')).toEqual(['warning REDIS_OPEN redis', 'info REDIS_PLAIN redis'])
    expect(judge('redis://127.evil.test')).toEqual(['warning REDIS_OPEN redis', 'info REDIS_PLAIN redis'])
    expect(judge('redis://:password@cache.lab.test')).toEqual(['info REDIS_PLAIN redis'])
    expect(JSON.stringify(judgeRedis({ url: 'redis://:hidden-word@cache.lab.test', facts: null }))).not.toContain('hidden-word')
  })
})
