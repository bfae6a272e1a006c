import { CommanderError } from 'commander'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { checkedOf, renderChecked } from '../../src/cli/check.ts'
import { failureJson, failureOf, renderFailure } from '../../src/cli/failure.ts'
import { renderInitialised } from '../../src/cli/prepare-verbs.ts'
import { renderPlan } from '../../src/cli/plan.ts'
import { ONE_COPY_STREAM } from '../../src/core/plan-file.ts'
import { isWorthLogging, progressFields, progressLines, progressText } from '../../src/cli/progress.ts'
import { renderStatus } from '../../src/cli/render-status.ts'
import { renderResolved } from '../../src/cli/resolve.ts'
import { openScreen } from '../../src/cli/screen.ts'
import type { Status } from '../../src/cli/status.ts'
import { fit, formatBytes, formatCount, formatSeconds, plain, renderTable } from '../../src/cli/text.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { noTotals } from '../../src/core/totals.ts'
import { openLog, withoutSecrets } from '../../src/log.ts'
import type { Progress } from '../../src/progress.ts'
import { random } from '../support/random.ts'

const snapshot: Progress = {
  phase: 'snapshot', rowsPerSecond: 12_345, lagSeconds: null, lagBytes: 2_500_000, parked: 1, position: '1:0/16B3748', totals: {}, objects: null,
  tables: [
    { table: 'public.users', copied: 1_000, estimate: 900, finished: true },
    { table: 'public.projects', copied: 500, estimate: 1_000, finished: false },
    { table: 'public.events', copied: 0, estimate: 8_500, finished: false },
    { table: 'public.files', copied: 20, estimate: 10, finished: false },
  ],
}
const stream: Progress = {
  ...snapshot, phase: 'stream', lagSeconds: 1.25,
  totals: { 'public.users': { ...noTotals(), read: 12, inserted: 9, merged: 2, skipped: { 'people log in again': 1 } } },
}

describe('numbers for people', () => {
  it('are short and readable', () => {
    expect([0, 999, 1_000, 1_234_567].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567'])
    expect([0, 999, 1_000, 1_530_000, 250e9, -2_000].map(formatBytes)).toEqual(['0 B', '999 B', '1.0 kB', '1.5 MB', '250 GB', '-2.0 kB'])
    expect([0.42, 61, 150, 7_300, 200_000].map(formatSeconds)).toEqual(['0.4 s', '61 s', '2 min 30 s', '2 h 1 min', '2 d 7 h'])
  })

  it('cuts long texts visibly', () => {
    expect([fit('abc', 3), fit('abcd', 3), fit('abcd', 1), fit('abcd', 0)]).toEqual(['abc', 'ab…', 'a', ''])
  })

  it('stand in columns', () => {
    expect(renderTable([{ title: 'NAME' }, { title: 'ROWS', align: 'right' }], [['a', '1'], ['long name', '1,000']])).toEqual(
      ['NAME        ROWS', 'a              1', 'long name  1,000'])
  })
})

test('a first configuration says which variables it still wants', () => {
  const made = { files: ['rekey.yaml', 'mapping/mapping.yaml'], todos: [] }
  expect(renderInitialised(made, { unset: [], empty: false })).toBe('Wrote rekey.yaml and mapping/mapping.yaml.\nThen: rekey check\n')
  expect(renderInitialised(made, { unset: ['REKEY_SECRET', 'REKEY_SOURCE_URL'], empty: true })).toContain(
    '\nThen set REKEY_SECRET, REKEY_SOURCE_URL, which rekey.yaml reads from the environment.\nThen: rekey ddl, for the tables that the destination lacks\nThen: rekey check\n')
})

test('a plan tells its conflicts by kind, the most first', () => {
  const conflict = (reason: string, action: 'map' | 'rename') => ({ table: 'public.users', source_key: '1', target_key: '', reason, evidence: '',
    recommended_action: action })
  const totals = { rows: 3, new: 0, adopted: 0, matched: 0, skipped: 0, conflict: 3, orphan: 0, invalid: 0, bytes: 0 }
  const side = { system: '1', database: 'x' }
  const text = renderPlan({
    format: 'rekey-plan/1', application: 'x', mapping: '', source: side, destination: side, tables: [], totals,
    estimate: { assumption: ONE_COPY_STREAM, seconds: 1 }, digest: 'd',
    conflicts: [conflict('the key is taken', 'map'), conflict('a value is taken', 'rename'), conflict('a value is taken', 'rename')],
  }, ['plan.json', 'conflicts.csv'])
  expect(text).toContain(`3 conflicts to decide: fill the column action of conflicts.csv,
then rekey run --conflicts conflicts.csv
  2 × public.users: a value is taken (rename)
  1 × public.users: the key is taken (map)
`)
})

describe('the live view', () => {
  it('shows a bar for every table while copying', () => {
    expect(progressLines(snapshot, { columns: 100, rows: 24 })).toEqual([
      'snapshot 14 % · 12,345 rows/s · lag 2.5 MB · parked 1 · at 1:0/16B3748',
      '  public.users     [████████████████████]  done  1,000 rows',
      '  public.projects  [██████████░░░░░░░░░░]   50 %  500 of about 1,000',
      '  public.events    [░░░░░░░░░░░░░░░░░░░░]    0 %  0 of about 8,500',
      '  public.files     [███████████████████░]   99 %  20 of about 20',
    ])
  })

  it('shows what is under way first where there is little room', () => {
    const lines = progressLines(snapshot, { columns: 100, rows: 8 })
    expect(lines).toHaveLength(4)
    expect(lines[1]).toContain('public.projects')
    expect(lines[2]).toContain('public.files')
    expect(lines[3]).toBe('  and 2 more tables, 1 of them done')
  })

  it('does not guess where there is no estimate', () => {
    const tables = [{ table: 'public.new', copied: 0, estimate: 0, finished: false }]
    expect(progressLines({ ...snapshot, tables }, { columns: 100, rows: 24 })[1]).toBe('  public.new  [░░░░░░░░░░░░░░░░░░░░]  waiting')
  })

  it('says what became of the rows while streaming', () => {
    expect(progressLines(stream, { columns: 100, rows: 24 })).toEqual([
      'stream · 12,345 rows/s · lag 1.3 s, 2.5 MB · parked 1 · at 1:0/16B3748',
      '  read 12 = inserted 9 + merged 2 + skipped 1',
    ])
  })

  it('never exceeds its room, nor passes on what a terminal obeys', () => {
    const table = fc.record({ table: fc.string(), copied: fc.nat(), estimate: fc.nat(), finished: fc.boolean() })
    const room = fc.record({ columns: fc.integer({ min: 2, max: 200 }), rows: fc.integer({ min: 1, max: 60 }) })
    fc.assert(fc.property(fc.array(table, { maxLength: 80 }), room, (tables, { columns, rows }) => {
      const lines = progressLines({ ...snapshot, tables }, { columns, rows })
      expect(lines.length).toBeLessThanOrEqual(Math.max(rows, 4))
      for (const line of lines) {
        expect(line.length).toBeLessThan(columns)
        expect(line).toBe(plain(line))
      }
    }), { seed: random().seed & 0x7fffffff })
  })

  it('is drawn over itself, and notes stay above it', () => {
    let out = ''
    const screen = openScreen((text) => { out += text }, () => 80)
    screen.draw(['one', 'two'])
    screen.draw(['three'])
    screen.print('a note')
    screen.end()
    expect(out).toBe('\u001b[?25lone\ntwo\n\u001b[2A\r\u001b[Jthree\n\u001b[1A\r\u001b[Ja note\nthree\n\u001b[?25h')
  })
})

describe('log lines', () => {
  it('come at a change, and else every five seconds', () => {
    const last = { at: 1_000, phase: 'stream', parked: 1 }
    expect(isWorthLogging(null, stream, 1_000)).toBe(true)
    expect(isWorthLogging(last, stream, 5_999)).toBe(false)
    expect(isWorthLogging(last, stream, 6_000)).toBe(true)
    expect(isWorthLogging(last, snapshot, 1_001)).toBe(true)
    expect(isWorthLogging(last, { ...stream, parked: 2 }, 1_001)).toBe(true)
  })

  it('say it in a sentence and in members', () => {
    expect(progressText(snapshot)).toBe('copying: 1 of 4 tables done, 1,520 rows (about 14 %), 12,345 rows/s')
    expect(progressText(stream)).toBe('streaming: 12,345 rows/s, lag 1.3 s, 2.5 MB, parked 1')
    expect(Object.keys(progressFields(snapshot))).toEqual(
      ['event', 'phase', 'copied', 'tables', 'tablesDone', 'read', 'rowsPerSecond', 'lagSeconds', 'lagBytes', 'parked', 'position'])
  })

  it('hold no secret', () => {
    const lines: string[] = []
    const log = openLog({ level: 'debug', secrets: ['the "id" secret'], write: (line) => lines.push(line) })
    log.info({ url: 'postgres://me:hunter2@host/db?sslpassword=pw1&x=1', source: { password: 'hunter3' } }, 'with the "id" secret')
    log.warn({ err: Object.assign(new Error('Key (email)=(ann@lab.test) exists'), { code: '23505' }) }, 'postgresql://u:p@ss@h/d')
    const text = lines.join('')
    for (const secret of ['hunter2', 'hunter3', 'pw1', 'id\\" secret', 'ann@lab.test', 'p@ss']) expect(text).not.toContain(secret)
    const [first] = lines.map((line) => JSON.parse(line))
    expect(first).toMatchObject({ level: 'info', url: 'postgres://me:***@host/db?sslpassword=***&x=1', source: { password: '***' } })
    expect(JSON.parse(lines[1])).toMatchObject({ level: 'warn', err: { code: '23505' }, msg: 'postgresql://u:***@h/d' })
    expect(() => openLog({ level: 'loud', write: () => {} })).toThrow(RekeyError)
  })

  it('keep what is no secret', () => {
    expect(withoutSecrets('see https://host:8080/path and a@b.c')).toBe('see https://host:8080/path and a@b.c')
  })
})

describe('a failure', () => {
  it('says what was wrong and what to do', () => {
    const failure = failureOf(new RekeyError('PREFLIGHT', 'first\nsecond', { sqlstate: '53400' }))
    expect(renderFailure(failure)).toBe(`rekey: PREFLIGHT [SQLSTATE 53400]\n  first\n  second\nWhat to do: ${failure.hint}\n`)
    expect(failureJson(failure)).toEqual({ error: { code: 'PREFLIGHT', message: 'first\nsecond', hint: failure.hint, sqlstate: '53400' } })
    expect(failure.exit).toBe(5)
  })

  it('is told by its code alone when it is not ours', () => {
    const row = failureOf(Object.assign(new Error('Key (email)=(ann@lab.test) exists'), { code: '23505' }))
    expect(row).toMatchObject({ code: 'INTERNAL', sqlstate: '23505', exit: 1 })
    expect(failureOf(Object.assign(new Error('x'), { code: '42501' }))).toMatchObject({ code: 'PRIVILEGE', exit: 5 })
    expect(failureOf(Object.assign(new Error('x'), { code: '57P01' }))).toMatchObject({ code: 'REMOTE', exit: 6 })
    expect(failureOf(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }))).toMatchObject({ code: 'REMOTE', exit: 6 })
    const usage = new CommanderError(1, 'commander.unknownOption', "error: unknown option '--x'")
    expect(failureOf(usage)).toMatchObject({ code: 'USAGE', message: "unknown option '--x'", exit: 2 })
    const defect = failureOf(new TypeError('ann@lab.test is not a function'))
    expect(defect).toMatchObject({ code: 'INTERNAL', exit: 1 })
    for (const failure of [row, defect]) expect(JSON.stringify(failure)).not.toContain('ann@lab.test')
  })

  it('shows no password', () => {
    const failure = failureOf(new RekeyError('CONFIG', 'postgres://me:hunter2@host/db, word'), ['word'])
    expect(failure.message).toBe('postgres://me:***@host/db, ***')
  })
})

const STATUS: Status = {
  pipeline: 'shop', deployment: 'lab', state: 'running', phase: 'stream', position: '2:0/16B3748', updatedAt: '2030-01-01T00:00:00.000Z',
  writer: { pid: 77, application: 'rekey shop', sinceSeconds: 90 }, lag: { bytes: 1_200_000, seconds: 2 },
  slot: {
    name: 'rekey_shop', health: 'ok', active: true, walStatus: 'reserved', retainedBytes: 5e6, safeBytes: 1e9, confirmedLsn: '0/16B3748',
  },
  topic: null,
  partitions: [], united: null,
  chunks: { done: 4, open: 0, rows: 1_234, tables: [] },
  deadLetters: 0,
  parked: {
    waiting: 2, retry: 0, waived: 1, left: 3,
    reasons: [{ table: 'public.users', state: 'waiting', sqlstate: '23505', reason: 'the\u001b[2J key', rows: 2 }],
  },
  objects: null,
  totals: { ...noTotals(), read: 5, inserted: 5, closes: true },
  tables: {
    'public.users': { ...noTotals(), read: 3, inserted: 3, closes: true },
    'public.a': { ...noTotals(), read: 2, inserted: 1, closes: false },
  },
  warnings: ['the mapping files were changed'],
}

describe('findings as text', () => {
  const finding = {
    group: 'access', code: 'NO_GRANT', severity: 'error', subject: 'public.users', message: 'may not be read',
    fix: 'grant select\non users',
  } as const

  it('say what it is and what to do', () => {
    const warning = { ...finding, group: 'schema', severity: 'warning', fix: '' } as const
    const checked = checkedOf([finding, warning])
    expect(checked).toMatchObject({ ok: false, errors: 1, warnings: 1 })
    expect(renderChecked(checked)).toBe(`\
access
  ✗ NO_GRANT public.users: may not be read
      grant select
      on users

schema
  ! NO_GRANT public.users: may not be read

A run does not begin: 1 error, 1 warning.
`)
    expect(renderChecked(checkedOf([]))).toBe('A run can begin: 0 errors, 0 warnings.\n')
  })
})

describe('a resolved id as text', () => {
  const ledger = { found: true, how: 'ledger', entity: 'users', old: '7', new: 'usr_1', kind: 'merged', rule: 'email', note: null } as const
  it.each([
    [ledger, 'users 7 -> usr_1\nby the ledger: merged (email)\n'],
    [{ ...ledger, how: 'computed', kind: null, rule: null } as const, 'users 7 -> usr_1\ncomputed from the key\n'],
    [{ ...ledger, found: false, how: null, new: null, note: 'not carried' } as const, 'not found: users 7\nnot carried\n'],
    [{ ...ledger, found: false, how: null, entity: null, old: null, note: 'no entry' } as const, 'not found: usr_1\nno entry\n'],
  ])('%#', (resolved, text) => expect(renderResolved(resolved)).toBe(text))
})

describe('status as text', () => {
  it('tells all there is', () => {
    expect(renderStatus(STATUS)).toBe(`\
pipeline  shop: running for 90 s, streaming (process 77 at the destination)
source    deployment lab
position  2:0/16B3748, written 2030-01-01T00:00:00.000Z
lag       1.2 MB of WAL, last commit 2.0 s ago
slot      rekey_shop: being read, WAL reserved, holds 5.0 MB back, 1.0 GB left before it may be lost
copy      4 of 4 chunks done, 1,234 rows
parked    2 waiting, 0 to be tried again, 1 waived, 3 to be read again by the stream
warning   the mapping files were changed

PARKED IN     STATE    SQLSTATE  ROWS  REASON
public.users  waiting  23505        2  the\ufffd[2J key

TABLE         READ  INSERTED  UPDATED  MERGED  DELETED  SKIPPED  PARKED  CLOSES
public.a         2         1        0       0        0        0       0  ✗ DOES NOT CLOSE
public.users     3         3        0       0        0        0       0  ✓
all              5         5        0       0        0        0       0  ✓
`)
  })

  it('tells where each partition is, and who applies it', () => {
    const partitions = [
      { partition: 0, position: '16/B374D848', lagBytes: 0, member: '0a1b2c3d-0000-4000-8000-000000000000' }, { partition: 1, position: '16/B3000000', lagBytes: 2_000, member: null },
    ]
    const text = renderStatus({ ...STATUS, partitions, united: 1 })
    expect(text).toContain("together  partition 1's process applies all of them")
    expect(text).toContain('\npartition 0: 16/B374D848, nothing behind, applied by 0a1b2c3d\npartition 1: 16/B3000000, 2.0 kB behind, applied by nobody\n')
  })

  it('tells that nothing is behind', () => {
    expect(renderStatus({ ...STATUS, lag: { bytes: 0, seconds: 0 } })).toContain('\nlag       none\n')
  })

  it('tells that there is nothing yet', () => {
    const parked = { waiting: 0, retry: 0, waived: 0, left: 0, reasons: [] }
    const none: Status = {
      ...STATUS, state: 'not started', phase: null, position: null, updatedAt: null, writer: null, lag: null, slot: null, parked,
      tables: {}, warnings: [],
      partitions: [], chunks: { done: 0, open: 0, rows: 0, tables: [] }, totals: { ...noTotals(), closes: true },
    }
    expect(renderStatus(none)).toBe('pipeline  shop: not started\nsource    deployment lab\n')
  })
})
