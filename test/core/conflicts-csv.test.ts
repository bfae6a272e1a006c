import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { conflictsCsv, CSV_COLUMNS, decisionsFromCsv, parseCsv, type ConflictRow } from '../../src/core/conflicts-csv.ts'
import type { TableSpec } from '../../src/core/compile/mapping-source.ts'
import { canonical } from '../../src/core/plan-file.ts'
import { mintersFor } from '../../src/planning/mint.ts'
import { catalog, table } from '../support/catalog-literals.ts'

const source = catalog([
  table('users', { columns: { id: 'bigint', name: 'text' }, unique: [['name']] }),
  table('seats', { columns: { user_id: 'bigint', no: 'integer' }, key: ['user_id', 'no'], refs: { user_id: 'users.id' } }),
  table('posts', { columns: { id: 'bigint' } }),
])
const destination = catalog([
  table('users', { columns: { id: 'text', name: 'text' }, unique: [['name']] }),
  table('seats', { columns: { user_id: 'text', no: 'integer' }, key: ['user_id', 'no'], refs: { user_id: 'users.id' } }),
  table('posts', { columns: { id: 'text' } }),
])
const tables: Record<string, TableSpec> = { users: { verdict: 'merge', on: ['name'] } }
const { mapping } = compileMapping({
  application: 't', digest: '', schemas: { source: 'public', destination: 'public' }, defaults: {}, tables,
  entities: { users: { id: 'prefixed', prefix: 'usr' }, posts: { id: 'prefixed', prefix: 'pst' } },
    contexts: [{ name: 'all', tables: ['users', 'seats', 'posts'] }],
}, source, destination)
const minters = mintersFor(mapping, { deployment: 'd', secret: 'a secret of enough bytes' }, source)

const user: ConflictRow = { table: 'public.users', source_key: '7', target_key: 'usr_x', reason: 'why, "so"', evidence: 'name: usr_x',
  recommended_action: 'merge' }
const seat: ConflictRow = { table: 'public.seats', source_key: '7\t1', target_key: '', reason: 'r', evidence: '',
  recommended_action: 'map' }
const post: ConflictRow = { table: 'public.posts', source_key: '1', target_key: 'pst_y', reason: 'r', evidence: '',
  recommended_action: 'rename' }
const options = (conflicts: readonly ConflictRow[]) => ({ conflicts, mapping, minters })

/** The file with the last cells of its rows filled. */
function edited(conflicts: readonly ConflictRow[], ...cells: { action?: string; target?: string; reason?: string }[]): string {
  const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`
  const lines = conflicts.map((c, i) => [c.table, c.source_key, cells[i]?.target ?? c.target_key, cells[i]?.reason ?? c.reason,
    c.evidence, c.recommended_action, cells[i]?.action ?? ''].map(quoted).join(','))
  return [CSV_COLUMNS.join(','), ...lines].join('\n')
}

function thrown(run: () => unknown): { code: string; message: string } {
  try {
    run()
  } catch (error) {
    return error as { code: string; message: string }
  }
  throw new Error('nothing was thrown')
}

describe('conflicts.csv', () => {
  it('is understood as spreadsheets save it', () => {
    const made = decisionsFromCsv(edited([user], { action: 'merge' }), options([user]))
    for (const saved of [edited([user], { action: ' Merge ' }), `\uFEFF${edited([user], { action: 'MERGE' }).replaceAll('\n', '\r\n')}\r\n`,
      `${CSV_COLUMNS.join(';')}\r\npublic.users;7;usr_x;"why, ""so""";name: usr_x;merge;merge\r\n`]) {
      expect(decisionsFromCsv(saved, options([user]))).toEqual(made)
    }
    expect(made).toMatchObject([{ key: '7', id: 'usr_x', kind: 'merged' }])
  })

  it('reads back what was written, whatever the text', () => {
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(fc.property(fc.array(fc.array(text, { minLength: 5, maxLength: 5 }), { maxLength: 5 }), (rows) => {
      const conflicts = rows.map(([t, k, g, r, e]) =>
        ({ table: t, source_key: k, target_key: g, reason: r, evidence: e, recommended_action: 'map' as const }))
      expect(parseCsv(conflictsCsv(conflicts)).slice(1).map(({ cells }) => cells)).toEqual(rows.map((row) => [...row, 'map', '']))
    }))
  })

  it('makes decisions for the ledger', () => {
    const of = (conflict: ConflictRow, action: string, target?: string) =>
      decisionsFromCsv(edited([conflict], target === undefined ? { action } : { action, target }), options([conflict]))[0]
    const id = minters.get('users')!.mint('7')
    expect(of(user, 'Merge ')).toEqual({ entity: 'users', key: '7', id: 'usr_x', kind: 'merged', rule: 'decided: merge',
      evidence: 'name: usr_x' })
    expect(of(user, 'map', 'usr_z')).toMatchObject({ id: 'usr_z', kind: 'pinned', rule: 'decided: map' })
    expect(of(user, 'placeholder', 'usr_nobody')).toMatchObject({ id: 'usr_nobody', kind: 'pinned' })
    expect(of(user, 'import')).toMatchObject({ id, kind: 'inserted' })
    expect(of(user, 'drop')).toMatchObject({ id, kind: 'pinned', rule: 'decided: drop' })
    expect(of(seat, 'map', 'usr_x\t1')).toMatchObject({ entity: 'public.seats', key: '7\t1', id: 'usr_x\t1' })
  })

  it('does not go on while one is open', () => {
    const error = thrown(() => decisionsFromCsv(edited([user, seat], { action: 'drop' }), options([user, seat])))
    expect(error).toMatchObject({ code: 'UNDECIDED', exit: 3 })
    expect(error.message).toBe('1 of 2 conflicts have no action: public.seats (1)')
    expect(thrown(() => decisionsFromCsv(CSV_COLUMNS.join(','), options([user]))).code).toBe('UNDECIDED')
  })

  it('names every fault by its line', () => {
    const faults = (csv: string, conflicts: readonly ConflictRow[] = [user, seat, post]) =>
      thrown(() => decisionsFromCsv(csv, options(conflicts))).message.split('\n')
    expect(faults(edited([user, seat, post], { action: 'eat' }, { action: 'map', target: '' }, { action: 'drop' }))).toEqual([
      'conflicts.csv:2: unknown action "eat"; one of import, map, merge, rename, placeholder, drop',
      'conflicts.csv:3: map needs a target_key',
      expect.stringContaining('conflicts.csv:4: rows of public.posts are never decided one by one'),
    ])
    expect(faults(edited([user], { action: 'drop',
      reason: 'changed' }))).toEqual(['conflicts.csv:2: only target_key and action may be edited'])
    expect(faults(edited([user, user], { action: 'drop' },
      { action: 'drop' }))).toEqual(['conflicts.csv:3: this row was decided in a line above'])
    expect(faults(edited([user], { action: 'drop' }),
      [seat])).toEqual(['conflicts.csv:2: the plan has no such conflict; table and source_key are not to be edited'])
    expect(faults(edited([seat], { action: 'map',
      target: 'usr_x' }))).toEqual([expect.stringContaining('target_key must have 2 values (user_id, no)')])
    expect(faults(edited([seat], { action: 'import' }))[0]).toContain('have no id of their own')
    expect(faults(edited([user], { action: 'rename' }))[0]).toContain('say which column gets a suffix')
    expect(faults('a,b\n')).toEqual([expect.stringContaining('conflicts.csv:1: the first line must be table,source_key')])
    expect(faults(`${CSV_COLUMNS.join(',')}\n"open`)).toEqual(['conflicts.csv:2: a quote that does not end'])
  })

  it('has one canonical text for equal plans', () => {
    expect(canonical({ b: [1, { d: null, c: 'x' }], a: undefined })).toBe(canonical({ b: [1, { c: 'x', d: null }] }))
  })
})
