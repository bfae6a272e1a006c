import { readFile } from 'node:fs/promises'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { check, type CheckOptions, type Finding } from '../../src/prepare/check.ts'
import { readMapping } from '../../src/config/mapping-files.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { startPostgres, type Server } from '../support/postgres.ts'

describe.each([14, 18] as const)('check against Postgres %i', (major) => {
  let servers: Server[] = []
  let source: Database
  let destination: Database
  const sessions: pg.Client[] = []

  beforeAll(async () => {
    servers = await Promise.all([startPostgres({ major }), startPostgres({ major, settings: { wal_level: 'replica' } })])
    source = await createDatabase(servers[0])
    destination = await createDatabase(servers[1])
    await source.query(await readFile('mappings/demo/source.sql', 'utf8'))
    await destination.query(await readFile('mappings/demo/destination.sql', 'utf8'))
    for (const one of [source, destination]) await one.query('create role stranger login')
  }, 90_000)
  afterAll(async () => {
    for (const session of sessions) await session.end()
    await Promise.all([source.drop(), destination.drop()])
    await Promise.all(servers.map((one) => one.stop()))
  })

  async function session(database: Database, role: string): Promise<pg.Client> {
    const one = await client(database.url.replace('postgres@', `${role}@`))
    sessions.push(one)
    return one
  }

  async function findings(more: Partial<CheckOptions> & { role?: string; from?: Database; to?: Database } = {}): Promise<Finding[]> {
    const { role = 'postgres', from = source, to = destination, ...options } = more
    const [a, b] = [await session(from, role), await session(to, role)]
    const text = (one: pg.Client) => async (sql: string, params: readonly unknown[]) =>
      (await one.query<(string | null)[]>({ text: sql, values: [...params], rowMode: 'array' })).rows
    const catalogOf = (one: pg.Client) => readCatalog(async (sql, params) => (await one.query(sql, params)).rows)
    const catalogs = { source: await catalogOf(a), destination: await catalogOf(b) }
    const { source: spec } = await readMapping('mappings/demo')
    const { mapping, problems } = compileMapping(spec, catalogs.source, catalogs.destination)
    return check({
      source: text(a), destination: text(b), catalogs, mapping, problems, slot: 'rekey_demo', publication: 'rekey_demo', checks: 'set',
        workers: 2, ...options,
    })
  }
  const codes = (list: readonly Finding[]) => list.map((f) => `${f.severity} ${f.code} ${f.subject}`)
  const errors = async (more = {}) => codes(await findings(more)).filter((c) => c.startsWith('error'))

  it('lets two servers that are ready pass', async () => {
    expect(await errors()).toEqual([])
    expect(codes(await findings())).toContain('warning WAL_UNLIMITED source')
  })

  it('knows the same database again, and a source without logical WAL', async () => {
    const found = await errors({ from: destination, to: destination })
    expect(found).toContain('error SAME_DATABASE destination')
    expect(found).toContain('error WAL_LEVEL source')
  })

  it('tells a role without rights everything that it lacks, with grants that help', async () => {
    const found = await findings({ role: 'stranger' })
    const own = codes(found)
    for (const code of ['REPLICATION role stranger', 'CREATE role stranger', 'PRIVILEGE public.users', 'OWNER public.users',
      'REPLICA_ROLE role stranger']) {
      expect(own).toContain(`error ${code}`)
    }
    expect(found.filter((f) => f.code === 'UNREADABLE')).toEqual([])
    const grants = found.filter((f) => f.code === 'PRIVILEGE' && f.message.includes('destination')).map((f) => f.fix)
    for (const grant of grants) await destination.query(grant)
    expect(codes((await findings({ role: 'stranger' })).filter((f) => f.code === 'PRIVILEGE' &&
      f.message.includes('destination')))).toEqual([])
  })

  it('sees tables that cannot be followed, and its statement mends them', async () => {
    await source.query('alter table wallets drop constraint wallets_pkey')
    const found = (await findings()).filter((f) => f.code === 'NO_KEY')
    expect(codes(found)).toEqual(['error NO_KEY public.wallets'])
    await source.query(found[0].fix)
    expect((await findings()).filter((f) => f.code === 'NO_KEY')).toEqual([])
    await source.query('alter table wallets add primary key (id); alter table wallets replica identity default')
  })

  it('sees what holds a new slot back', async () => {
    const open = await session(source, 'postgres')
    await open.query("begin; insert into products (name) values ('open')")
    const two = await session(source, 'postgres')
    await two.query("begin; insert into products (name) values ('prepared'); prepare transaction 'half'")
    const own = codes(await findings({ longSeconds: 0 }))
    expect(own).toContain('error PREPARED_TRANSACTION half')
    expect(own.some((c) => c.startsWith('warning LONG_TRANSACTION process'))).toBe(true)
    await two.query("rollback prepared 'half'")
    await open.query('rollback')
  })

  it('compares the publication and looks at the slot', async () => {
    await source.query('create publication rekey_demo for table users')
    await source.query("select pg_create_logical_replication_slot('rekey_demo', 'pgoutput')")
    const own = codes(await findings())
    expect(own).toContain('error PUBLICATION publication rekey_demo')
    expect(own).toContain('info SLOT_EXISTS slot rekey_demo')
    await source.query("select pg_drop_replication_slot('rekey_demo')")
    const [differs] = (await findings()).filter((f) => f.code === 'PUBLICATION')
    await source.query('drop publication rekey_demo')
    await source.query(differs.fix.slice(differs.fix.indexOf('create publication')))
    expect(await errors()).toEqual([])
    await source.query('drop publication rekey_demo')
  })

  it('measures the values of large tables, and lists what is not replicated', async () => {
    await source.query(`create materialized view sums as select 1 as one; select lo_create(0)`)
    const own = codes(await findings({ largeTable: 1 }))
    expect(own).toContain('info NOT_REPLICATED source')
    expect(own).toContain('warning LARGE_OBJECTS source')
    expect(own.filter((c) => c.includes('UNREADABLE'))).toEqual([])
    await source.query('drop materialized view sums')
  })

  it('makes a finding of what it cannot read, and goes on', async () => {
    const found = await findings({ destination: async () => { throw Object.assign(new Error('secret value'), { code: '57014' }) } })
    expect(found.filter((f) => f.code === 'UNREADABLE').length).toBeGreaterThan(3)
    expect(JSON.stringify(found)).not.toContain('secret value')
  })
})
