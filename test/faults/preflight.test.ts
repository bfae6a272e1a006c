import { afterAll, expect, test } from 'vitest'
import { namesOf, withDatabases } from '../../src/pipeline/open.ts'
import { check } from '../../src/prepare/check.ts'
import { failureOf, parentsRig, withBridge } from '../support/accident.ts'
import { startPostgres } from '../support/postgres.ts'
import { createRig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })
const replica = await startPostgres({ major: 15, settings: { wal_level: 'replica' } })
afterAll(() => replica.stop())

/** The same URL for another role. */
function as(role: string): (url: string) => string {
  return (url) => {
    const changed = new URL(url)
    changed.username = role
    return changed.href
  }
}

async function withRole(server: 'source' | 'destination', attributes: string, use: (role: string) => Promise<void>): Promise<void> {
  const { createDatabase } = await import('../support/database.ts')
  const admin = await createDatabase(servers[server])
  const role = `role_${admin.name}`
  await admin.query(`create role ${role} login ${attributes}`)
  try {
    await use(role)
  } finally {
    await admin.query(`drop owned by ${role}; drop role ${role}`)
    await admin.drop()
  }
}

test('wal_level = replica is named, and nothing is left behind', async () => {
  const rig = await parentsRig({ source: replica, destination: servers.destination })
  try {
    const { code, exit } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'WAL_LEVEL', exit: 5 })
    expect(await rig.source.query('select 1 from pg_publication union all select 1 from pg_replication_slots')).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a role that may not replicate is named', () => withRole('source', '', async (role) => {
  const rig = await parentsRig(servers, { through: { source: as(role) } })
  try {
    const { code, exit } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'PRIVILEGE', exit: 5 })
  } finally {
    await rig.close()
  }
}))

test('a role that may not write at the destination is named', () => withRole('destination', '', async (role) => {
  const rig = await parentsRig(servers, { through: { destination: as(role) } })
  try {
    await rig.destination.query(`grant create on database "${rig.destination.name}" to ${role}; grant select on all tables in schema public to ${role}`)
    const { code, exit } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'PRIVILEGE', exit: 5 })
    await rig.destination.query(`grant insert, update, delete on all tables in schema public to ${role}`)
    await withBridge(rig, async () => {
      await rig.source.query("update parents set name = 'allowed'")
    })
    await rig.destination.query('drop schema if exists rekey cascade')
  } finally {
    await rig.close()
  }
}))

test('a table without a key that does not send whole rows is named', async () => {
  const sql = 'create table plain (a integer, b text)'
  const rig = await createRig({
    servers, sourceSql: sql, destinationSql: sql, mapping: 'application: plain\ncontexts: [{ name: all, tables: [plain] }]\nentities: {}',
  })
  try {
    const { exit } = await failureOf(rig.start())
    expect(exit).toBeLessThan(6)
    expect(await rig.source.query(`select 1 from pg_replication_slots where slot_name = 'rekey_${rig.config.pipeline}'`)).toEqual([])
  } finally {
    await rig.close()
  }
})

test('a value that text cannot carry, however small it is stored, is named beforehand; a run that begins all the same stops, and goes on without it', async () => {
  const sql = (key: string): string => `create table files (id ${key} primary key, data bytea)`
  const rig = await createRig({
    servers, sourceSql: sql('bigint'), destinationSql: sql('text'), mapping: 'application: f\ncontexts: [{ name: all, tables: [files] }]\nentities: { files: { prefix: fil } }',
  })
  try {
    await rig.source.query(`insert into files values (1, 'small'), (2, convert_to(repeat(repeat('x', 10000), 60000), 'SQL_ASCII'))`)
    const findings = await withDatabases(rig.config, (opened) => check({
      ...opened, source: opened.source.query, destination: opened.destination.query, ...namesOf(rig.config), checks: 'engine', workers: 1,
    }))
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([expect.objectContaining({ code: 'VALUE_TOO_LARGE', subject: 'public.files.data', message: expect.stringContaining('600 MB') as string })])
    const { code, hint } = await failureOf(rig.start())
    expect(code).toBe('PREFLIGHT')
    expect(hint).toContain('rekey check')
    await rig.source.query('delete from files where id = 2')
    await withBridge(rig, async () => {})
  } finally {
    await rig.close()
  }
}, 120_000)
