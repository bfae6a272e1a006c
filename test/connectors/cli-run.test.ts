import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RekeyError } from '../../src/core/errors.ts'
import { type CommandLine, commandLine, type Play, type Ran, SECRET } from '../support/command-line.ts'
import { pair } from '../support/servers.ts'

const { source: from, destination: to } = await pair({ source: 17, destination: 18 })
let line: CommandLine

beforeAll(async () => {
  line = await commandLine(from, to)
})
afterAll(() => line.close())

describe('before the first run', () => {
  it('says that nothing was started', async () => {
    const { exit, out } = await line.rekey(['status'])
    expect(exit).toBe(0)
    expect(out).toContain('clitest: not started')
    const status = await line.json(['status'])
    expect(status).toMatchObject({ state: 'not started', phase: null, position: null, writer: null, lag: null, slot: null, tables: {} })
  })

  it('computes an id and reads it back without a ledger', async () => {
    const found = await line.json(['resolve', 'nodes', '42'])
    expect(found).toMatchObject({ found: true, how: 'computed', entity: 'nodes', old: '42' })
    expect(found.new).toMatch(/^nod_[0-9a-z]{26}$/)
    expect(await line.json(['resolve', found.new])).toMatchObject({ found: true, how: 'computed', entity: 'nodes', old: '42' })
  })

  it('knows that a row of a merged table is not decided yet', async () => {
    const { exit, out } = await line.rekey(['resolve', 'users', '1'])
    expect(exit).toBe(4)
    expect(out).toContain('not found: users 1')
    expect((await line.rekey(['resolve', 'strangers', '1'])).exit).toBe(2)
  })

  it('has nothing to list, to change or to remove', async () => {
    expect((await line.rekey(['parked', 'list'])).out).toBe('No row is parked.\n')
    expect(await line.json(['parked', 'retry', '1'])).toEqual({ changed: [], left: [{ id: '1', state: 'not there' }] })
    const removed = await line.json(['remove', '--yes'])
    expect(removed).toMatchObject({ slot: 'not there', publication: 'not there', destination: 'nothing there' })
  })
})

describe('a run', () => {
  const lines: any[] = []
  let ran: Ran
  let during: any

  beforeAll(async () => {
    let asked: Promise<void> | undefined
    ran = await line.rekey(['run', '--json'], {
      on(text, signal) {
        for (const line of text.split('\n').filter((l) => l !== '')) lines.push(JSON.parse(line))
        if (lines.at(-1)?.phase === 'stream') asked ??= line.json(['status']).then((status) => { during = status }).finally(signal)
      },
    })
    await asked
  }, 60_000)

  it('tells in JSON lines how it goes, ends with a summary, and with 0 on a signal', () => {
    expect(ran.err).toBe('')
    expect(ran.exit).toBe(0)
    expect(new Set(lines.map((l) => l.type))).toEqual(new Set(['progress', 'note', 'summary']))
    expect(Object.keys(lines.find((l) => l.type === 'progress')).sort()).toEqual(
      ['lagBytes', 'lagSeconds', 'objects', 'parked', 'phase', 'position', 'rowsPerSecond', 'tables', 'totals', 'type'])
    expect(Object.keys(lines.at(-1)).sort()).toEqual(['commitLsn', 'endLsn', 'epoch', 'objects', 'phase', 'pipeline', 'role', 'tables', 'totals', 'type'])
    expect(lines.at(-1).totals.closes).toBe(true)
  })

  it('is seen by status while it is under way, and after it', async () => {
    expect(during).toMatchObject({ state: 'running', phase: 'stream', slot: { name: 'rekey_clitest', health: 'ok' }, warnings: [] })
    expect(during.writer.application).toBe('rekey clitest')
    const after = await line.json(['status'])
    expect(after).toMatchObject({ state: 'stopped', phase: 'stream', writer: null, slot: { active: false, health: 'ok' }, warnings: [] })
    expect(Object.keys(after)).toEqual([
      'pipeline', 'deployment', 'state', 'phase', 'updatedAt', 'writer', 'position', 'lag', 'slot', 'topic', 'partitions', 'united', 'chunks', 'parked',
      'objects', 'deadLetters', 'totals', 'tables', 'warnings',
    ])
    expect(after.lag.bytes).toBeGreaterThanOrEqual(0)
    expect(after.totals.closes).toBe(true)
    const { out } = await line.rekey(['status'])
    expect(out).toContain('stopped while streaming')
    expect(out).toMatch(/public\.users +\d+.*✓/)
  })

  it('leaves ids that resolve both ways', async () => {
    const ann = await line.json(['resolve', 'users', '1'])
    expect(ann).toMatchObject({ found: true, how: 'ledger', kind: 'merged', old: '1', new: 'usr_ann_over_there' })
    expect(await line.json(['resolve', 'usr_ann_over_there'])).toMatchObject({ found: true, entity: 'users', old: '1' })
    const bob = await line.json(['resolve', 'users', '2'])
    expect(bob).toMatchObject({ found: true, how: 'ledger', kind: 'inserted' })
    expect(await line.destination.query('select email from users where id = $1', [bob.new])).toEqual([{ email: 'bob@lab.test' }])
    expect(await line.json(['resolve', bob.new])).toMatchObject({ found: true, entity: 'users', old: '2' })
    expect(await line.json(['resolve', 'memberships', '2,2'])).toMatchObject({ found: true, old: '2, 2' })
    expect((await line.rekey(['resolve', 'usr_nothing'])).exit).toBe(4)
  })
})

describe('a process', () => {
  it('writes log lines without a terminal, and ends with 0 on SIGTERM', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', 'run', '--config', join(line.folder, 'rekey.yaml')], {
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
    expect({ code, signal, out }, err).toEqual({ code: 0, signal: null, out: '' })
    const lines = err.trim().split('\n').map((line) => JSON.parse(line))
    expect(lines.map((l) => l.event)).toEqual(expect.arrayContaining(['progress', 'signal', 'stopped']))
    expect(lines.every((l) => l.pipeline === 'clitest' && l.level === 'info')).toBe(true)
    expect(err).not.toContain(SECRET)
  })

  it('is ended by a second signal with 130', async () => {
    const exits: number[] = []
    let stopped = (): void => {}
    const never: NonNullable<Play['run']> = (_config, _options, events) => new Promise((_, reject) => {
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
    const ran = await line.rekey(['run', '--json'], { on, run: never, exit: (code) => { exits.push(code); stopped() } })
    expect(exits).toEqual([130])
    expect(ran.out.trim().split('\n').map((line) => JSON.parse(line).type)).toEqual(['note', 'note', 'error'])
    expect(ran.exit).toBe(6)
  })
})
