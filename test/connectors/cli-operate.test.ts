import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SCHEMA_SQL } from '../../connectors/postgres-destination/schema.ts'
import { type CommandLine, commandLine } from '../support/command-line.ts'
import { client } from '../support/database.ts'
import { pair } from '../support/servers.ts'

const { source: from, destination: to } = await pair({ source: 17, destination: 18 })
let line: CommandLine

beforeAll(async () => {
  line = await commandLine(from, to)
  await line.rekey(['run', '--json'], { on: (text, signal) => text.includes('"phase":"stream"') && signal() })
})
afterAll(() => line.close())

describe('parked rows', () => {
  const change = JSON.stringify({ op: 'insert', row: { id: '7', name: 'private words' }, old: null, oldIsFull: false })

  beforeAll(async () => {
    await line.destination.query(
      `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal)
       select 'clitest', 'public.groups', n::text, 'insert', '23505', 'a row has this key', $1, n = 3, '0/10', n
         from generate_series(1, 4) n`, [change])
    await line.destination.query(
      `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal)
       values ('another', 'public.groups', '1', 'insert', '23505', 'a row has this key', '{}', false, '0/10', 1)`)
  })

  it('are listed without their values', async () => {
    const { out } = await line.rekey(['parked', 'list'])
    expect(out).toContain('waits behind another')
    expect(out).not.toContain('private words')
    expect((await line.rekey(['parked', 'list', '--values'])).out).toContain('private words')
    const list = await line.json(['parked', 'list', '--limit', '2'])
    expect(list.total).toBe(4)
    expect(list.rows).toHaveLength(2)
    expect(Object.keys(list.rows[0])).toEqual(
      ['id', 'table', 'key', 'op', 'sqlstate', 'reason', 'behind', 'state', 'note', 'commitLsn', 'ordinal', 'parkedAt'])
    expect((await line.json(['parked', 'list', '--table', 'public.users'])).total).toBe(0)
  })

  it('are tried again or waived by name, and counted', async () => {
    const { rows } = await line.json(['parked', 'list'])
    const [first, second, third] = rows.map((r: { id: string }) => r.id)
    expect(await line.json(['parked', 'retry', first])).toEqual({ changed: [first], left: [] })
    expect((await line.rekey(['parked', 'waive', second, '--reason', 'not needed'])).exit).toBe(2)
    expect((await line.rekey(['parked', 'waive', second, '--reason', 'not needed'], { answer: 'no' })).err).toContain('not confirmed')
    expect((await line.rekey(['parked', 'waive', second, '--reason', 'not needed'], { answer: 'yes' })).exit).toBe(0)
    const again = await line.rekey(['parked', 'waive', second, third, '99999', '--reason', 'no', '--yes'])
    expect(again.exit).toBe(4)
    expect(again.out).toContain(`${second}: left as it is (waived)`)
    expect(again.out).toContain('99999: there is no such parked row')
    expect((await line.json(['status'])).parked).toMatchObject({ waiting: 1, retry: 1, waived: 2 })
    expect((await line.json(['parked', 'list'])).total).toBe(2)
    expect((await line.json(['parked', 'list', '--all'])).rows[1]).toMatchObject({ state: 'waived', note: 'not needed' })
    expect((await line.json(['parked', 'retry', '--all'])).changed).toHaveLength(1)
  })

  it('those that are left to the stream are told, and are no business of anybody', async () => {
    const [{ id }] = await line.destination.query(
      `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal, state)
       values ('clitest', 'public.groups', '9', 'insert', '23503', 'no parent yet', '{}', false, '0/10', 9, 'left') returning id::text`)
    const { parked } = await line.json(['status'])
    expect(parked).toMatchObject({ left: 1, reasons: expect.arrayContaining([expect.objectContaining({ state: 'left', rows: 1 })]) })
    expect((await line.rekey(['status'])).out).toContain('1 to be read again by the stream')
    const keys = async (...more: string[]): Promise<string[]> =>
      (await line.json(['parked', 'list', ...more])).rows.map((r: { key: string }) => r.key)
    expect(await keys()).not.toContain('9')
    expect(await keys('--all')).toContain('9')
    expect(await line.json(['parked', 'waive', id!, '--reason', 'no', '--yes'])).toEqual({ changed: [], left: [{ id, state: 'left' }] })
  })
})

describe('remove', () => {
  it('leaves what is alive alone, unless forced', async () => {
    const holder = await client(line.destination.url)
    await holder.query("set application_name = 'rekey clitest'; select pg_advisory_lock(hashtextextended('rekey/clitest', 0))")
    expect(await line.json(['status'])).toMatchObject({ state: 'running', writer: { application: 'rekey clitest' } })
    const refused = await line.rekey(['remove', '--yes'])
    expect(refused).toMatchObject({ exit: 5, out: '' })
    expect(refused.err).toContain('RUNNING')
    expect(refused.err).toContain('--force')
    expect((await line.json(['status'])).slot.name).toBe('rekey_clitest')
    expect(await line.json(['remove', '--yes', '--force'])).toEqual({
      pipeline: 'clitest', ended: { writer: true, reader: false }, slot: 'dropped', publication: 'dropped', destination: 'schema dropped',
      copy: 'not there', topics: { removed: [], left: [], groups: 0 },
    })
    await expect(holder.query('select 1')).rejects.toThrow()
    await holder.end().catch(() => {})
  })

  it('asks for the name, and can be done again', async () => {
    expect((await line.rekey(['remove'], { answer: 'yes' })).err).toContain('not confirmed')
    expect((await line.rekey(['remove'])).err).toContain('--yes')
    const { exit, out } = await line.rekey(['remove'], { answer: 'clitest' })
    expect(exit).toBe(0)
    expect(out).toContain('Nothing is left of the pipeline clitest.')
    const made = "select slot_name from pg_replication_slots where slot_name = 'rekey_clitest' union all select pubname from pg_publication"
    expect(await line.source.query(made)).toEqual([])
  })

  it('keeps the records of other pipelines', async () => {
    await line.destination.query(SCHEMA_SQL)
    for (const pipeline of ['clitest', 'another']) {
      const row = "$1, 1, 1, '0/1', '0/1', '0/1', 'stream', '{}', '', '', 1, now()"
      await line.destination.query(`insert into rekey.checkpoint values (${row})`, [pipeline])
      await line.destination.query(`insert into rekey.id_map values ($1, 'users', '1', 'usr_1', 'inserted', 'r', '')`, [pipeline])
    }
    expect(await line.json(['remove', '--yes'])).toMatchObject({ destination: 'rows deleted', copy: 'not there' })
    const left = 'select pipeline from rekey.checkpoint union all select pipeline from rekey.id_map'
    expect(await line.destination.query(left)).toEqual([{ pipeline: 'another' }, { pipeline: 'another' }])
  })
})

describe('the verbs before a run', () => {
  it('write first files, which the other verbs take', async () => {
    const there = await mkdtemp(join(tmpdir(), 'rekey-init-'))
    const names = ['--application', 'shop', '--config', join(there, 'rekey.yaml')]
    const urls = ['--source', line.source.url, '--destination', line.destination.url, ...names]
    const made = await line.json(['init', ...urls])
    expect(Object.keys(made)).toEqual(['files', 'todos'])
    expect(made.files).toEqual([join(there, 'rekey.yaml'), join(there, 'mapping', 'mapping.yaml')])
    const again = await line.rekey(['init', ...urls])
    expect(again.exit).toBe(2)
    expect(again.err).toContain('--force')
    const without = await line.rekey(['init', '--destination', line.destination.url, '--config', join(there, 'other.yaml')])
    expect(without.err).toContain('REKEY_SOURCE_URL')
    await rm(there, { recursive: true })
  })

  it('plan what a run would do, and do not overwrite what a person decided', async () => {
    const out = join(line.folder, 'plans')
    const plan = await line.json(['plan', '--out', out])
    expect(Object.keys(plan)).toEqual(
      ['format', 'application', 'mapping', 'source', 'destination', 'tables', 'totals', 'estimate', 'objects', 'conflicts', 'digest', 'files'])
    expect(plan.files).toEqual([join(out, 'plan.json'), join(out, 'conflicts.csv')])
    expect(plan.totals).toMatchObject({ rows: 7, conflict: plan.conflicts.length })
    const text = await line.rekey(['plan', '--out', out])
    expect(text.exit).toBe(plan.conflicts.length > 0 ? 3 : 0)
    expect(text.out).toContain(plan.digest)
    expect(text.out).toMatch(/^public\.users +merge +2 /m)
    const titles = 'table,source_key,target_key,reason,evidence,recommended_action,action'
    await writeFile(join(out, 'conflicts.csv'), `${titles}\r\npublic.users,1,,r,e,drop,drop\r\n`)
    expect((await line.rekey(['plan', '--out', out])).exit).toBe(2)
    expect((await line.rekey(['plan', '--out', out, '--force'])).exit).toBe(text.exit)
  })

  it('check whether a run can begin', async () => {
    const checked = await line.json(['check'])
    expect(Object.keys(checked)).toEqual(['ok', 'errors', 'warnings', 'findings'])
    const members = ['code', 'fix', 'group', 'message', 'severity', 'subject']
    for (const finding of checked.findings) expect(Object.keys(finding).sort()).toEqual(members)
    expect(await line.rekey(['check'])).toMatchObject({ exit: checked.ok ? 0 : 5, err: '' })
    await line.source.query('alter table nodes drop constraint nodes_pkey cascade')
    const bad = await line.rekey(['check'])
    expect(bad).toMatchObject({ exit: 5, err: '' })
    expect(bad.out).toContain('A run does not begin')
  })

  it('print SQL for the destination', async () => {
    const { exit, out } = await line.rekey(['ddl'])
    expect(exit).toBe(0)
    expect(out).toMatch(/^-- Nothing is to be changed: /)
    expect(Object.keys(await line.json(['ddl']))).toEqual(['sql'])
  })
})
