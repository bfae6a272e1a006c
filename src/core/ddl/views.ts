import { comment } from './create.ts'
import type { DdlFacts, ViewFact } from './facts.ts'
import type { Converted } from '../planned.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../quote.ts'

/**
 * Views that name a column whose type changes, and views over such views, in the order in which they were made. Postgres refuses to
 * change the type of such a column (0A000), so they go before and come again after.
 */
export function viewsInTheWay({ views, dependents }: DdlFacts, converted: Converted): ViewFact[] {
  const found = new Set<string>()
  for (let more = true; more;) {
    more = false
    for (const { kind, table, column, name } of dependents) {
      if (kind !== 'view' || found.has(name) || !(converted.get(table)?.has(column) || found.has(table))) continue
      found.add(name)
      more = true
    }
  }
  return views.filter((v) => found.has(nameOf(v)))
}

/** SQL that drops them, those first that were made last. */
export function dropViews(views: readonly ViewFact[]): string[] {
  return [...views].reverse().map((v) => `drop ${kindOf(v)} ${sqlName(v)}`)
}

/** SQL that makes them as they were, with owner, rights, comment, indexes and triggers. */
export function makeViews(views: readonly ViewFact[]): string[] {
  return views.flatMap((v) => {
    const options = v.options.length === 0 ? '' : ` with (${v.options.join(', ')})`
    return [
      comment(`as it was; change it where it computes with an id, which is text now`),
      `create ${kindOf(v)} ${sqlName(v)}${options} as\n${v.definition}`,
      `alter ${kindOf(v)} ${sqlName(v)} owner to ${quoteIdent(v.owner)}`,
      ...v.grants.map((g) => `grant ${g.privilege} on ${sqlName(v)} to ${g.grantee === null ? 'public' : quoteIdent(g.grantee)}` +
        (g.grantable ? ' with grant option' : '')),
      ...(v.comment === null ? [] : [`comment on ${kindOf(v)} ${sqlName(v)} is ${quoteLiteral(v.comment)}`]),
      ...v.parts,
    ]
  })
}

function kindOf({ materialized }: ViewFact): string {
  return materialized ? 'materialized view' : 'view'
}

function nameOf({ schema, view }: ViewFact): string {
  return `${schema}.${view}`
}

function sqlName({ schema, view }: ViewFact): string {
  return quoteName({ schema, table: view })
}
