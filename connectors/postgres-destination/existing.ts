import type { CatalogTable } from '../../src/core/catalog.ts'
import type { TableWrite } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { equalsOf, joined } from './equal.ts'
import type { Message } from './stage.ts'

/**
 * Rows whose insert makes a trigger insert others. ON CONFLICT would run BEFORE triggers for rows that are there already, and they would make
 * theirs again. Columns that the trigger fills, and that are left null for it, are not set in rows that are there.
 */
export function existingFirst(write: TableWrite, { stage, rows }: { stage: string; rows: number }, out: Message): void {
  const { target, rule, columns } = write
  const list = columns.map(quoteIdent).join(', ')
  const left = (name: string): boolean => rule.makes!.filled.includes(name) && rule.columns.some((c) => c.target === name && c.source === null)
  const set = settable(target, columns.filter((name) => !rule.targetKey.includes(name) && !left(name)))
    .map((name) => `${quoteIdent(name)} = s.${quoteIdent(name)}`)
  const on = joined(target, rule.targetKey, stage)
  const there = set.length > 0 ? `update ${quoteName(target)} t set ${set.join(', ')} from ${stage} s where ${on} returning 1`
    : `select 1 from ${quoteName(target)} t, ${stage} s where ${on}`
  const same = rule.targetKey.map((k) => `t.${quoteIdent(k)} ${equalsOf(target, k)} s.${quoteIdent(k)}`).join(' and ')
  const fresh = `insert into ${quoteName(target)} (${list}) overriding system value
select ${list} from ${stage} s where not exists (select 1 from ${quoteName(target)} t where ${same}) returning 1`
  // Both see the table as it was before: a row is either updated or inserted.
  const written = '(select count(*) from u) + (select count(*) from i)'
  out.sql.push(`with u as (${there}), i as (${fresh}) select rekey.expect(${rows}, ${written}, ${quoteLiteral(nameOf(target))}, 'RK002')`)
  proveFixed(write, columns.filter((name) => !left(name)), stage, out)
}

/** Columns that UPDATE may set: GENERATED ALWAYS AS IDENTITY takes a value at insert only (manual, CREATE TABLE). */
export function settable(table: CatalogTable, names: readonly string[]): string[] {
  return names.filter((name) => table.columns.find((c) => c.name === name)?.identity !== 'a')
}

/** Columns that cannot be set are equal already; a row in which one differs is an error. */
export function proveFixed(write: TableWrite, names: readonly string[], stage: string, out: Message): void {
  const free = settable(write.target, names)
  const fixed = names.filter((name) => !free.includes(name) && !write.rule.targetKey.includes(name))
  if (fixed.length === 0) return
  const differs = fixed.map((name) => `t.${quoteIdent(name)} is distinct from s.${quoteIdent(name)}`).join(' or ')
  const rows = `select 1 from ${quoteName(write.target)} t, ${stage} s where ${joined(write.target, write.rule.targetKey, stage)} and (${differs})`
  out.sql.push(`select rekey.expect(0, (select count(*) from (${rows}) x), ${quoteLiteral(nameOf(write.target))}, 'RK002')`)
}
