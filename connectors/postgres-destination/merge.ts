import type { Lines } from '../../src/core/out.ts'
import type { TableWrite } from '../../src/core/plan.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { equalsOf } from './equal.ts'
import type { Message } from './stage.ts'
import { emptyStage, type StageFill, stageOf } from './stage.ts'

interface Merging {
  readonly lines: Lines
  readonly scope: { readonly pipeline: string; readonly fill: StageFill }
  readonly out: Message
}

/**
 * Rows that became rows of the destination: each column keeps what the mapping says, the row as it was goes to the journal, and a row
 * that would not change is not written. Source deletes never come here. Returns the columns that may have changed. What the source did not
 * send has not changed there: such a column is left as it is, and where `newest` asks it, no other is newer.
 */
export function mergeStatements({ rule, target }: TableWrite, names: readonly string[], { lines, scope, out }: Merging): string[] {
  const stage = stageOf(target, 's')
  const pairs = names.filter((name) => target.columns.find((c) => c.name === name)?.identity !== 'a').flatMap((column) => {
    const keep = rule.merge?.keep.get(column) ?? 'destination'
    if (typeof keep === 'object' && !names.includes(keep.newest)) return []
    const expression = keepExpression(keep, quoteIdent(column))
    return expression === null ? [] : [{ name: column, column: quoteIdent(column), expression }]
  })
  if (pairs.length === 0) return []
  const empty = emptyStage(scope.fill, stage, lines.rows)
  if (empty) out.sql.push(empty)
  out.sql.push(`copy ${stage} (${names.map(quoteIdent).join(', ')}) from stdin`)
  out.copies.push([lines.view()])
  const key = rule.targetKey.map((k) => `t.${quoteIdent(k)} ${equalsOf(target, k)} s.${quoteIdent(k)}`).join(' and ')
  const differs = pairs.map(({ column, expression }) => `(t.${column})::text is distinct from (${expression})::text`).join(' or ')
  const from = `${quoteName(target)} t join ${stage} s on ${key} where ${differs}`
  out.sql.push(
    `insert into rekey.journal (pipeline, tbl, before) select ${quoteLiteral(scope.pipeline)}, ${quoteLiteral(nameOf(target))}, pg_catalog.row_to_json(t) from ${from}`,
    `update ${quoteName(target)} t set ${pairs.map(({ column, expression }) => `${column} = ${expression}`).join(', ')} from ${stage} s where ${key} and (${differs})`,
  )
  return pairs.map(({ name }) => name)
}

function keepExpression(keep: string | { readonly newest: string }, column: string): string | null {
  if (keep === 'destination') return null
  if (keep === 'source') return `s.${column}`
  if (keep === 'fill-empty') return `case when t.${column} is null or t.${column}::text = '' then s.${column} else t.${column} end`
  const by = quoteIdent((keep as { newest: string }).newest)
  return `case when s.${by} > t.${by} then s.${column} else t.${column} end`
}
