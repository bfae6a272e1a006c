import type { Change } from './change.ts'
import { combine, keyOf, movesKey } from './coalesce.ts'
import type { Program } from './program.ts'
import type { Relation } from './relation.ts'
import type { Row } from './row.ts'

/**
 * What a transaction makes of the rows of a table whose keys are unique only at its end: two rows may have one key on the way, so neither
 * a key nor the order tells which row a change is of; its whole old row does (REPLICA IDENTITY FULL). Each row is followed from what it was to
 * what it is, and what stands under each key at the end is written as a whole: rows that exchange keys exchange all the rest instead, and
 * nothing has to leave its key. Null when it does not apply: no key changes, rows not sent whole, or two rows under one key at the end.
 */
export function composeKeys(changes: readonly Change[], program: Program): Change[] | null {
  if (!program.rule.keyed || !changes.some((change) => movesKey(change, program.key))) return null
  if (!changes.every(({ op, oldIsFull }) => op === 'insert' || ((op === 'update' || op === 'delete') && oldIsFull))) return null
  const versions = new Map<string, Row[]>()
  const before = new Map<string, Row>()
  for (const { op, old, row } of changes) {
    if (op !== 'insert') {
      const line = lineOf(old!)
      const made = versions.get(line)
      if (!made) before.set(keyOf(old!, program.key), old!)
      else if (made.length > 1) made.pop()
      else versions.delete(line)
    }
    if (op !== 'delete') {
      const now = op === 'update' ? combine(old!, row!) : row!
      versions.set(lineOf(now), [...(versions.get(lineOf(now)) ?? []), now])
    }
  }
  const after = new Map<string, Row>()
  for (const row of [...versions.values()].flat()) {
    const key = keyOf(row, program.key)
    if (after.has(key)) return null
    after.set(key, row)
  }
  const { relation } = program
  return [
    ...[...before].filter(([key]) => !after.has(key)).map(([, old]) => changeOf(relation, { op: 'delete', row: null, old })),
    ...[...after].map(([key, row]) => changeOf(relation, { op: before.has(key) ? 'update' : 'insert', row, old: null })),
  ]
}

function changeOf(relation: Relation, change: Pick<Change, 'op' | 'row' | 'old'>): Change {
  return { ...change, relation, oldIsFull: false }
}

function lineOf(row: Row): string {
  return row.buf.toString('latin1', row.ends[row.at], row.ends[row.at + row.width])
}
