import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { Socket } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { openSession } from '../../connectors/postgres/session.ts'
import { connect } from '../../connectors/postgres-source/connect.ts'
import { installedMajors } from '../support/binaries.ts'
import { client, createDatabase } from '../support/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { allGone, childrenOf, isAlive } from '../support/processes.ts'
import { pair, server, stopServers } from '../support/servers.ts'

const majors = installedMajors()
const newest = majors[majors.length - 1]

test('binaries of at least two majors are installed', () => {
  expect(majors.length).toBeGreaterThanOrEqual(2)
})

describe.each(majors)('Postgres %i', (major) => {
  test('starts, decodes, survives a kill and leaves nothing behind', async () => {
    const running = await startPostgres({ major })
    const db = await createDatabase(running)
    const facts = "select current_setting('server_version_num')::int / 10000 as major, getdatabaseencoding() as encoding"
    const [version] = await db.query(facts)
    expect(version).toEqual({ major: String(major), encoding: 'UTF8' })

    await db.query('create table item (id int primary key, name text); create publication p for table item')
    await db.query("select pg_create_logical_replication_slot('s', 'pgoutput')")
    await db.query('insert into item select i, i::text from generate_series(1, 1000) i')

    const before = [running.pid, ...childrenOf(running.pid)]
    expect(before.length).toBeGreaterThan(3)
    running.kill()
    await allGone(before)
    await running.restart()
    expect(before).not.toContain(running.pid)
    expect(await db.query('select count(*) from item')).toEqual([{ count: '1000' }])
    const peek = "pg_logical_slot_peek_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p')"
    const [{ n }] = await db.query(`select count(*) as n from ${peek}`)
    expect(Number(n)).toBeGreaterThan(1000)

    await db.drop()
    const after = [running.pid, ...childrenOf(running.pid)]
    await running.stop()
    expect(after.filter(isAlive)).toEqual([])
    expect(existsSync(running.dataDir)).toBe(false)
  })
})

describe('a server', () => {
  test('killed in the midst of work comes back with what was committed', async () => {
    const running = await startPostgres({ major: newest })
    const db = await createDatabase(running)
    await db.query('create table item (id int)')
    await db.query('insert into item values (1)')
    const busy = [await client(db.url), await client(db.url)]
    const long = 'insert into item select i from generate_series(1, 100000000) i'
    const ended = busy.map((session) => session.query(long).then(() => 'done', () => 'cut'))
    await expect.poll(() => db.query("select 1 from pg_stat_activity where query like 'insert%' and state = 'active'")).toHaveLength(2)
    running.kill()
    expect(await Promise.all(ended)).toEqual(['cut', 'cut'])
    await running.restart()
    expect(await db.query('select * from item')).toEqual([{ id: '1' }])
    await running.stop()
  })

  test('takes new settings at a restart, and keeps data in a folder that was named', async () => {
    const parent = await mkdtemp(path.join(tmpdir(), 'rekey-named-'))
    await chmod(parent, 0o755)
    const dataDir = path.join(parent, 'data')
    const first = await startPostgres({ major: newest, dataDir, settings: { work_mem: '5MB' } })
    const db = await createDatabase(first, 'kept')
    await first.restart({ maintenance_work_mem: '32MB' })
    const shown = "select current_setting('work_mem') as a, current_setting('maintenance_work_mem') as b"
    expect(await db.query(shown)).toEqual([{ a: '5MB', b: '32MB' }])
    await first.stop()
    const second = await startPostgres({ major: newest, dataDir, port: first.port })
    const session = await client(second.url('kept'))
    expect((await session.query('select 1 as one')).rows).toEqual([{ one: '1' }])
    await session.end()
    await second.stop()
    expect(existsSync(dataDir)).toBe(true)
    await rm(parent, { recursive: true })
  })

  test('that cannot start says why, with the end of its log', async () => {
    await expect(startPostgres({ major: newest, settings: { no_such_setting: '1' } })).rejects.toThrow('no_such_setting')
  })

  test.runIf(process.platform === 'linux').each(['SIGKILL', 'SIGTERM'] as const)('dies with its parent (%s)', async (name) => {
    const support = fileURLToPath(new URL('../support/postgres.ts', import.meta.url))
    const script = `import(${JSON.stringify(support)}).then(async (m) => {
      const s = await m.startPostgres({ major: ${newest} })
      console.log(JSON.stringify({ pid: s.pid, dataDir: s.dataDir }))
    })`
    const parent = spawn(process.execPath, ['--import', 'tsx', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const line = await new Promise<string>((resolve) => parent.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())))
    const { pid, dataDir } = JSON.parse(line) as { pid: number; dataDir: string }
    const family = [pid, ...childrenOf(pid)]
    expect(isAlive(pid)).toBe(true)
    const exited = once(parent, 'exit')
    parent.kill(name)
    await exited
    await allGone(family)
    if (name === 'SIGTERM') expect(existsSync(dataDir)).toBe(false)
    else await rm(dataDir, { recursive: true, force: true })
  })
})

describe('a database', () => {
  test('goes away with its slots, prepared transactions and a reader that reconnects', async () => {
    const running = await server(newest)
    const db = await createDatabase(running)
    await db.query('create table item (id int)')
    await db.query("select pg_create_logical_replication_slot('a', 'pgoutput'), pg_create_logical_replication_slot('b', 'pgoutput')")
    const session = await client(db.url)
    await session.query('begin')
    await session.query('insert into item values (1)')
    await session.query("prepare transaction 'it''s'")
    await session.end()

    let stopped = false
    const replication = `${db.url}?replication=database`
    const reader = async (): Promise<void> => {
      while (!stopped) {
        const walsender = await client(replication).catch(() => null)
        await walsender?.query("START_REPLICATION SLOT a LOGICAL 0/0 (proto_version '1', publication_names 'p')").catch(() => undefined)
        await walsender?.end().catch(() => undefined)
      }
    }
    const reading = reader()
    const postgres = await client(running.url())
    const active = "select 1 from pg_replication_slots where slot_name = 'a' and active"
    await expect.poll(async () => (await postgres.query(active)).rowCount).toBe(1)
    await db.drop()
    stopped = true
    await reading
    const left = await postgres.query('select slot_name from pg_replication_slots where database = $1', [db.name])
    expect(left.rows).toEqual([])
    expect((await postgres.query('select 1 from pg_database where datname = $1', [db.name])).rowCount).toBe(0)
    await postgres.end()
  })

  test('answers in text, as the server wrote it', async () => {
    const db = await createDatabase(await server(newest))
    const sql = "select true as b, null as n, 9007199254740993 as i, '{\"a\": 1.0}'::jsonb as j, '{1,2}'::int[] as a where $1 = 'x'"
    expect(await db.query(sql, ['x']))
      .toEqual([{ b: 't', n: null, i: '9007199254740993', j: '{"a": 1.0}', a: '{1,2}' }])
    await db.drop()
  })
})

test('a pair of one major is two systems', async () => {
  const { source, destination } = await pair({ source: newest, destination: newest })
  const system = async (url: string): Promise<unknown> => {
    const session = await client(url)
    const { rows } = await session.query('select system_identifier from pg_control_system()')
    await session.end()
    return rows
  }
  expect(await system(source.url())).not.toEqual(await system(destination.url()))
  expect(await server(newest)).toBe(source)
  await stopServers()
  expect([source.pid, destination.pid]).toEqual([0, 0])
  expect(childrenOf(process.pid).filter(isAlive)).toEqual([])
  expect([source, destination].filter((one) => existsSync(one.dataDir))).toEqual([])
})

test('a server that vanishes without a word is missed after half a minute, whatever the system is set to', async () => {
  const url = (await server(newest, 'source')).url()
  const asked = vi.spyOn(Socket.prototype, 'setKeepAlive')
  const [session, source] = [await openSession(url, 'destination'), await connect(url)]
  expect(asked.mock.calls).toEqual([[true, 30_000], [true, 30_000]])
  asked.mockRestore()
  await Promise.all([session.close(), source.end()])
})
