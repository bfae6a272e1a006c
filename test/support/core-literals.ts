import type { Change, Transaction } from '../../src/core/change.ts'
import { compileProgram, type Minter, type Program } from '../../src/core/program.ts'
import type { Relation } from '../../src/core/relation.ts'
import { rowOf } from '../../src/core/row.ts'
import { catalog, table } from './catalog-literals.ts'
import { compile } from './mapping-literals.ts'

export type Values = readonly (string | null | undefined)[]

export function relation(name: string, columns: readonly string[], keys: readonly string[] = [columns[0]]): Relation {
  return {
    oid: 1, schema: 'public', table: name, identity: 'd',
    columns: columns.map((column) => ({ name: column, typeOid: 25, key: keys.includes(column) })),
  }
}

export function insertOf(relation: Relation, row: Values): Change {
  return { op: 'insert', relation, row: rowOf(row), old: null, oldIsFull: false }
}

/** `old` is the whole row where `full` says so, else the old key and nulls. */
export function updateOf(relation: Relation, row: Values, old: Values | null = null, full = false): Change {
  return { op: 'update', relation, row: rowOf(row), old: old && rowOf(old), oldIsFull: full }
}

export function deleteOf(relation: Relation, old: Values, full = false): Change {
  return { op: 'delete', relation, row: null, old: rowOf(old), oldIsFull: full }
}

export function truncateOf(relation: Relation): Change {
  return { op: 'truncate', relation, row: null, old: null, oldIsFull: false }
}

export function transaction(changes: readonly Change[], more: Partial<Transaction> = {}): Transaction {
  return { epoch: 1, xid: 0, commitLsn: 10n, endLsn: 11n, commitMicros: 0, changes, first: 0, last: true, bytes: 0, messages: [], ...more }
}

/** The program of a table `t` whose rows keep their keys; `rule` overrides parts of its rule. */
export function programOf(of: Relation, rule: Partial<Program['rule']> = {}): Program {
  const t = table('t', { columns: Object.fromEntries(of.columns.map((c) => [c.name, c.key ? 'text' : 'text null'])), key: keysOf(of) })
  const { mapping } = compile({ source: catalog([t]).tables, entities: { t: { id: 'keep' } } })
  const keep: Minter = { ordered: null, mint: (key) => key, unmint: (id) => id }
  const program = compileProgram(mapping, new Map([['t', keep]]), of)
  return { ...program, rule: { ...program.rule, ...rule } }
}

function keysOf(of: Relation): string[] {
  return of.columns.filter((c) => c.key).map((c) => c.name)
}
