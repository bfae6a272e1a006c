import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SCHEMA_SQL } from '../../connectors/postgres-destination/schema.ts'
import { cli } from '../../src/cli/program.ts'
import type { World } from '../../src/cli/session.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { look, operate } from '../../src/operate.ts'
import { run } from '../../src/pipeline.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { pair } from '../support/servers.ts'

const { source: from, destination: to } = await pair({ source: 17, destination: 18 })
const SECRET = 'a secret of more than enough bytes'

let source: Database
let destination: Database
let folder: string

interface Ran {
  readonly exit: number
  readonly out: string
  readonly err: string
}

interface Play {
  /** What a person answers; null when nobody is there. */
  readonly answer?: string | null
  /** Called with each text written; may call the signal. */
  readonly on?: (text: string, signal: () => void) => unknown
  readonly run?: World['run']
  readonly exit?: World['exit']
}

async function rekey(args: readonly string[], { answer = null, on, run: how = run, exit: end = () => {} }: Play = {}): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  let signal = (): void => {}
  const into = (texts: string[]) => ({
    write(text: string) {
      texts.push(text)
      on?.(text, signal)
    },
  })
  const world: World = {
    stdout: into(out), stderr: into(err), env: { REKEY_SECRET: SECRET }, version: '1.2.3', run: how, operate, look, ask: async () => answer,
    onSignal: (heard) => {
      signal = heard
      return () => {}
    },
    exit: end,
  }
  const exit = await cli(['--config', join(folder, 'rekey.yaml'), ...args], world)
  return { exit, out: out.join(''), err: err.join('') }
}

const json = async (args: readonly string[], play?: Play): Promise<any> => JSON.parse((await rekey([...args, '--json'], play)).out)

beforeAll(async () => {
  source = await createDatabase(from)
  destination = await createDatabase(to)
  await source.query(await readFile('mappings/demo/source.sql', 'utf8'))
  await destination.query(await readFile('mappings/demo/destination.sql', 'utf8'))
  await source.query(`
    insert into groups values (1, 'everyone', 'everyone'), (2, 'crew', 'team');
    insert into users (id, email, name, first_name, last_name) values (1, 'Ann@lab.test', 'ann', 'Ann', 'A'), (2, 'bob@lab.test', 'bob', 'Bob', 'B');
    insert into memberships values (1, 1), (2, 1), (2, 2)`)
  await destination.query(`
    insert into groups values ('grp_everyone', 'everyone', 'everyone');
    insert into users (id, email, name, full_name) values ('usr_ann_over_there', 'ann@lab.test', 'ann', 'Ann A')`)
  folder = await mkdtemp(join(tmpdir(), 'rekey-cli-'))
  await writeFile(join(folder, 'rekey.yaml'), `
pipeline: clitest
deployment: lab
secret: \${REKEY_SECRET}
source: { url: "${source.url}" }
destination: { url: "${destination.url}" }
mapping: ${resolve('mappings/demo')}
heartbeat: 1s
`)
})
afterAll(async () => {
  await rekey(['remove', '--yes', '--force'])
  await Promise.all([source.drop(), destination.drop()])
  await rm(folder, { recursive: true, force: true })
})

describe('before the first run', () => {
  it('says that nothing was started', async () => {
    const { exit, out } = await rekey(['status'])
    expect(exit).toBe(0)
    expect(out).toContain('clitest: not started')
    expect(await json(['status'])).toMatchObject({ state: 'not started', phase: null, position: null, writer: null, lag: null, slot: null, tables: {} })
  })

  it('computes an id and reads it back without a ledger', async () => {
    const found = await json(['resolve', 'nodes', '42'])
    expect(found).toMatchObject({ found: true, how: 'computed', entity: 'nodes', old: '42' })
    expect(found.new).toMatch(/^nod_[0-9a-z]{26}$/)
    expect(await json(['resolve', found.new])).toMatchObject({ found: true, how: 'computed', entity: 'nodes', old: '42' })
  })

  it('knows that a row of a merged table is not decided yet', async () => {
    const { exit, out } = await rekey(['resolve', 'users', '1'])
    expect(exit).toBe(4)
    expect(out).toContain('not found: users 1')
    expect((await rekey(['resolve', 'strangers', '1'])).exit).toBe(2)
  })

  it('has nothing to list, to change or to remove', async () => {
    expect((await rekey(['parked', 'list'])).out).toBe('No row is parked.\n')
    expect(await json(['parked', 'retry', '1'])).toEqual({ changed: [], left: [{ id: '1', state: 'not there' }] })
    expect(await json(['remove', '--yes'])).toMatchObject({ slot: 'not there', publication: 'not there', destination: 'nothing there' })
  })
})

describe('a run', () => {
  const lines: any[] = []
  let ran: Ran
  let during: any

  beforeAll(async () => {
    let asked: Promise<void> | undefined
    ran = await rekey(['run', '--json'], {
      on(text, signal) {
        for (const line of text.split('\n').filter((l) => l !== '')) lines.push(JSON.parse(line))
        if (lines.at(-1)?.phase === 'stream') asked ??= json(['status']).then((status) => { during = status }).finally(signal)
      },
    })
    await asked
  }, 60_000)

  it('tells in JSON lines how it goes, ends with a summary, and with 0 on a signal', () => {
    expect(ran.err).toBe('')
    expect(ran.exit).toBe(0)
    expect(new Set(lines.map((l) => l.type))).toEqual(new Set(['progress', 'note', 'summary']))
    expect(Object.keys(lines.find((l) => l.type === 'progress')).sort()).toEqual(
      ['lagBytes', 'lagSeconds', 'parked', 'phase', 'position', 'rowsPerSecond', 'tables', 'totals', 'type'])
    expect(Object.keys(lines.at(-1)).sort()).toEqual(['commitLsn', 'endLsn', 'epoch', 'phase', 'pipeline', 'tables', 'totals', 'type'])
    expect(lines.at(-1).totals.closes).toBe(true)
  })

  it('is seen by status while it is under way, and after it', async () => {
    expect(during).toMatchObject({ state: 'running', phase: 'stream', slot: { name: 'rekey_clitest', health: 'ok' }, warnings: [] })
    expect(during.writer.application).toBe('rekey clitest')
    const after = await json(['status'])
    expect(after).toMatchObject({ state: 'stopped', phase: 'stream', writer: null, slot: { active: false, health: 'ok' }, warnings: [] })
    expect(Object.keys(after)).toEqual(
      ['pipeline', 'deployment', 'state', 'phase', 'updatedAt', 'writer', 'position', 'lag', 'slot', 'chunks', 'parked', 'totals', 'tables', 'warnings'])
    expect(after.lag.bytes).toBeGreaterThanOrEqual(0)
    expect(after.totals.closes).toBe(true)
    const { out } = await rekey(['status'])
    expect(out).toContain('stopped while streaming')
    expect(out).toMatch(/public\.users +\d+.*✓/)
  })

  it('leaves ids that resolve both ways', async () => {
    expect(await json(['resolve', 'users', '1'])).toMatchObject({ found: true, how: 'ledger', kind: 'merged', old: '1', new: 'usr_ann_over_there' })
    expect(await json(['resolve', 'usr_ann_over_there'])).toMatchObject({ found: true, entity: 'users', old: '1' })
    const bob = await json(['resolve', 'users', '2'])
    expect(bob).toMatchObject({ found: true, how: 'ledger', kind: 'inserted' })
    expect(await destination.query('select email from users where id = $1', [bob.new])).toEqual([{ email: 'bob@lab.test' }])
    expect(await json(['resolve', bob.new])).toMatchObject({ found: true, entity: 'users', old: '2' })
    expect(await json(['resolve', 'memberships', '2,2'])).toMatchObject({ found: true, old: '2, 2' })
    expect((await rekey(['resolve', 'usr_nothing'])).exit).toBe(4)
  })
})

describe('a process', () => {
  it('writes log lines without a terminal, and ends with 0 on SIGTERM', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', 'run', '--config', join(folder, 'rekey.yaml')], {
      env: { ...process.env, REKEY_SECRET: SECRET, REKEY_LOG_LEVEL: 'info' }, stdio: ['ignore', 'pipe', 'pipe'],
    })
    let err = ''
    let out = ''
    let asked = false
    child.stdout.on('data', (data) => { out += data })
    child.stderr.on('data', (data) => {
      err += data
      if (!asked && err.includes('"phase":"stream"')) asked = child.kill('SIGTERM')
    })
    const [code, signal] = await once(child, 'exit')
    expect({ code, signal, out }).toEqual({ code: 0, signal: null, out: '' })
    const lines = err.trim().split('\n').map((line) => JSON.parse(line))
    expect(lines.map((l) => l.event)).toEqual(expect.arrayContaining(['progress', 'signal', 'stopped']))
    expect(lines.every((l) => l.pipeline === 'clitest' && l.level === 'info')).toBe(true)
    expect(err).not.toContain(SECRET)
  })

  it('is ended by a second signal with 130', async () => {
    const exits: number[] = []
    let stopped = (): void => {}
    const never: World['run'] = (_config, _options, events) => new Promise((_, reject) => {
      stopped = () => reject(new RekeyError('REMOTE', 'gone'))
      events.note({ level: 'info', event: 'ready', text: 'ready' })
    })
    const on: Play['on'] = (text, signal) => {
      if (!text.includes('"ready"')) return
      queueMicrotask(() => {
        signal()
        signal()
        expect(exits).toEqual([])
      })
      setTimeout(signal, 400)
    }
    const ran = await rekey(['run', '--json'], { on, run: never, exit: (code) => { exits.push(code); stopped() } })
    expect(exits).toEqual([130])
    expect(ran.out.trim().split('\n').map((line) => JSON.parse(line).type)).toEqual(['note', 'note', 'error'])
    expect(ran.exit).toBe(6)
  })
})

describe('parked rows', () => {
  const change = JSON.stringify({ op: 'insert', row: { id: '7', name: 'private words' }, old: null, oldIsFull: false })

  beforeAll(async () => {
    await destination.query(
      `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal)
       select 'clitest', 'public.groups', n::text, 'insert', '23505', 'a row has this key', $1, n = 3, '0/10', n from generate_series(1, 4) n`, [change])
    await destination.query(
      `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal)
       values ('another', 'public.groups', '1', 'insert', '23505', 'a row has this key', '{}', false, '0/10', 1)`)
  })

  it('are listed without their values', async () => {
    const { out } = await rekey(['parked', 'list'])
    expect(out).toContain('waits behind another')
    expect(out).not.toContain('private words')
    expect((await rekey(['parked', 'list', '--values'])).out).toContain('private words')
    const list = await json(['parked', 'list', '--limit', '2'])
    expect(list.total).toBe(4)
    expect(list.rows).toHaveLength(2)
    expect(Object.keys(list.rows[0])).toEqual(
      ['id', 'table', 'key', 'op', 'sqlstate', 'reason', 'behind', 'state', 'note', 'commitLsn', 'ordinal', 'parkedAt'])
    expect((await json(['parked', 'list', '--table', 'public.users'])).total).toBe(0)
  })

  it('are tried again or waived by name, and counted', async () => {
    const { rows } = await json(['parked', 'list'])
    const [first, second, third] = rows.map((r: { id: string }) => r.id)
    expect(await json(['parked', 'retry', first])).toEqual({ changed: [first], left: [] })
    expect((await rekey(['parked', 'waive', second, '--reason', 'not needed'])).exit).toBe(2)
    expect((await rekey(['parked', 'waive', second, '--reason', 'not needed'], { answer: 'no' })).err).toContain('not confirmed')
    expect((await rekey(['parked', 'waive', second, '--reason', 'not needed'], { answer: 'yes' })).exit).toBe(0)
    const again = await rekey(['parked', 'waive', second, third, '99999', '--reason', 'no', '--yes'])
    expect(again.exit).toBe(4)
    expect(again.out).toContain(`${second}: left as it is (waived)`)
    expect(again.out).toContain('99999: there is no such parked row')
    expect((await json(['status'])).parked).toMatchObject({ waiting: 1, retry: 1, waived: 2 })
    expect((await json(['parked', 'list'])).total).toBe(2)
    expect((await json(['parked', 'list', '--all'])).rows[1]).toMatchObject({ state: 'waived', note: 'not needed' })
    expect((await json(['parked', 'retry', '--all'])).changed).toHaveLength(1)
  })
})

describe('remove', () => {
  it('leaves what is alive alone, unless forced', async () => {
    const holder = await client(destination.url)
    await holder.query("set application_name = 'rekey clitest'; select pg_advisory_lock(hashtextextended('rekey/clitest', 0))")
    expect(await json(['status'])).toMatchObject({ state: 'running', writer: { application: 'rekey clitest' } })
    const refused = await rekey(['remove', '--yes'])
    expect(refused).toMatchObject({ exit: 5, out: '' })
    expect(refused.err).toContain('RUNNING')
    expect(refused.err).toContain('--force')
    expect((await json(['status'])).slot.name).toBe('rekey_clitest')
    expect(await json(['remove', '--yes', '--force'])).toEqual({
      pipeline: 'clitest', ended: { writer: true, reader: false }, slot: 'dropped', publication: 'dropped', destination: 'schema dropped',
    })
    await expect(holder.query('select 1')).rejects.toThrow()
    await holder.end().catch(() => {})
  })

  it('asks for the name, and can be done again', async () => {
    expect((await rekey(['remove'], { answer: 'yes' })).err).toContain('not confirmed')
    expect((await rekey(['remove'])).err).toContain('--yes')
    const { exit, out } = await rekey(['remove'], { answer: 'clitest' })
    expect(exit).toBe(0)
    expect(out).toContain('Nothing is left of the pipeline clitest.')
    expect(await source.query("select slot_name from pg_replication_slots where slot_name = 'rekey_clitest' union all select pubname from pg_publication")).toEqual([])
  })

  it('keeps the records of other pipelines', async () => {
    await destination.query(SCHEMA_SQL)
    for (const pipeline of ['clitest', 'another']) {
      await destination.query(`insert into rekey.checkpoint values ($1, 1, 1, '0/1', '0/1', '0/1', 'stream', '{}', '', '', 1, now())`, [pipeline])
      await destination.query(`insert into rekey.id_map values ($1, 'users', '1', 'usr_1', 'inserted', 'r', '')`, [pipeline])
    }
    expect(await json(['remove', '--yes'])).toMatchObject({ destination: 'rows deleted' })
    const left = 'select pipeline from rekey.checkpoint union all select pipeline from rekey.id_map'
    expect(await destination.query(left)).toEqual([{ pipeline: 'another' }, { pipeline: 'another' }])
  })
})

describe('the verbs before a run', () => {
  it('write first files, which the other verbs take', async () => {
    const there = await mkdtemp(join(tmpdir(), 'rekey-init-'))
    const urls = ['--source', source.url, '--destination', destination.url, '--application', 'shop', '--config', join(there, 'rekey.yaml')]
    const made = await json(['init', ...urls])
    expect(Object.keys(made)).toEqual(['files', 'todos'])
    expect(made.files).toEqual([join(there, 'rekey.yaml'), join(there, 'mapping', 'mapping.yaml')])
    const again = await rekey(['init', ...urls])
    expect(again.exit).toBe(2)
    expect(again.err).toContain('--force')
    expect((await rekey(['init', '--destination', destination.url, '--config', join(there, 'other.yaml')])).err).toContain('REKEY_SOURCE_URL')
    await rm(there, { recursive: true })
  })

  it('plan what a run would do, and do not overwrite what a person decided', async () => {
    const out = join(folder, 'plans')
    const plan = await json(['plan', '--out', out])
    expect(Object.keys(plan)).toEqual(
      ['format', 'application', 'mapping', 'source', 'destination', 'tables', 'totals', 'estimate', 'conflicts', 'digest', 'files'])
    expect(plan.files).toEqual([join(out, 'plan.json'), join(out, 'conflicts.csv')])
    expect(plan.totals).toMatchObject({ rows: 7, conflict: plan.conflicts.length })
    const text = await rekey(['plan', '--out', out])
    expect(text.exit).toBe(plan.conflicts.length > 0 ? 3 : 0)
    expect(text.out).toContain(plan.digest)
    expect(text.out).toMatch(/^public\.users +merge +2 /m)
    await writeFile(join(out, 'conflicts.csv'), 'table,source_key,target_key,reason,evidence,recommended_action,action\r\npublic.users,1,,r,e,drop,drop\r\n')
    expect((await rekey(['plan', '--out', out])).exit).toBe(2)
    expect((await rekey(['plan', '--out', out, '--force'])).exit).toBe(text.exit)
  })

  it('print SQL for the destination', async () => {
    const { exit, out } = await rekey(['ddl'])
    expect(exit).toBe(0)
    expect(out).toContain('begin;')
    expect(Object.keys(await json(['ddl']))).toEqual(['sql'])
  })
})
