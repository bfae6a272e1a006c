import type { CatalogTable, ForeignKey } from '../../src/core/catalog.ts'
import type { TableRule } from '../../src/core/mapping.ts'
import { quoteIdent, quoteName } from '../../src/core/quote.ts'

/** Statements of one message and the data of each COPY among them, in order. */
export interface Message {
  readonly sql: string[]
  readonly copies: (readonly Buffer[])[]
}

/**
 * Temporary tables through which sets of rows reach the server: s whole or partial rows, d keys to delete, g keys gone in earlier parts of
 * the same transaction, m key changes, p parents of a foreign key. Each has the column types of its table. They keep their rows over a
 * commit and are emptied before
 * they are filled: ON COMMIT DELETE ROWS would truncate every one of them at each commit that touched any, which costs milliseconds.
 */
export function stageOf(target: CatalogTable, kind: 's' | 'd' | 'g' | 'm' | 'p', fk?: ForeignKey): string {
  const suffix = fk ? `_${target.foreignKeys.indexOf(fk)}` : ''
  return quoteIdent(`rekey_${kind}_${target.oid}${suffix}`)
}

/** The statements that make the stages of one table, for the life of a session. */
export function stageStatements(rule: TableRule, target: CatalogTable): string[] {
  const make = (name: string, columns: readonly string[]): string =>
    `create temporary table ${name} as select ${columns.join(', ')} from only ${quoteName(target)} with no data`
  const all = rule.columns.map((column) => quoteIdent(column.target))
  const key = rule.targetKey.map(quoteIdent)
  const old = rule.targetKey.map((column, i) => `${quoteIdent(column)} as rekey_old_${i}`)
  const statements = [make(stageOf(target, 's'), all)]
  if (key.length > 0) statements.push(make(stageOf(target, 'd'), key), make(stageOf(target, 'g'), key),
    make(stageOf(target, 'm'), [...old, ...all]))
  for (const fk of target.foreignKeys) statements.push(make(stageOf(target, 'p', fk), fk.columns.map(quoteIdent)))
  return statements
}

/** Rows that lie in each stage, dead ones included, as far as this connection has put them there. */
export type StageFill = Map<string, number>

/** Above this many rows a stage is truncated, which makes new files; below, its rows are deleted, which leaves them to be skipped. */
const TRUNCATE_AT = 2_000

/** The statement that empties a stage before it is filled with `rows`; null when nothing was ever put into it. */
export function emptyStage(fill: StageFill, stage: string, rows: number): string | null {
  const lies = fill.get(stage)
  if (lies === undefined || lies > TRUNCATE_AT) fill.set(stage, rows)
  else fill.set(stage, lies + rows)
  if (lies === undefined) return null
  return lies > TRUNCATE_AT ? `truncate ${stage}` : `delete from ${stage}`
}
