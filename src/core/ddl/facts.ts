/**
 * What a schema's SQL needs beyond the catalog (catalog.ts). Names of tables are `schema.table`; definitions are as Postgres prints them
 * under a search_path of pg_catalog, so every other name in them has its schema.
 */
export interface DdlFacts {
  readonly constraints: readonly ConstraintFact[]
  /** Indexes that no constraint owns. */
  readonly indexes: readonly IndexFact[]
  readonly types: readonly TypeFact[]
  readonly sequences: readonly SequenceFact[]
  readonly generated: readonly { readonly table: string; readonly column: string; readonly expression: string; readonly stored: boolean }[]
  readonly partitions: readonly PartitionFact[]
  /** Things that name a column and stand in the way of changing its type. */
  readonly dependents: readonly DependentFact[]
  /** Functions of users: not of extensions. */
  readonly functions: readonly { readonly name: string; readonly source: string }[]
  /** In the order in which they were made. */
  readonly views: readonly ViewFact[]
  readonly extensions: readonly { readonly name: string; readonly schema: string }[]
  /** Tables that belong to extensions. */
  readonly extensionTables: readonly string[]
}

export interface ViewFact {
  readonly schema: string
  readonly view: string
  readonly materialized: boolean
  readonly definition: string
  /** Storage parameters: `security_invoker=true`. */
  readonly options: readonly string[]
  readonly owner: string
  readonly comment: string | null
  /** Beyond its owner's rights; a grantee of null is everybody. */
  readonly grants: readonly { readonly privilege: string; readonly grantee: string | null; readonly grantable: boolean }[]
  /** Statements that make its indexes and triggers. */
  readonly parts: readonly string[]
}

export interface IndexFact {
  readonly table: string
  readonly name: string
  readonly definition: string
  /** All columns that it reads. */
  readonly columns: readonly string[]
  /** Its expressions and its condition as text; empty for an index of columns alone over all rows. */
  readonly computes: string
}

export interface ConstraintFact {
  readonly table: string
  readonly name: string
  /** primary, unique, foreign, check, exclusion. */
  readonly kind: 'p' | 'u' | 'f' | 'c' | 'x'
  readonly definition: string
  readonly columns: readonly string[]
}

export interface TypeFact {
  readonly name: string
  /** enum, domain, composite, range. */
  readonly kind: 'e' | 'd' | 'c' | 'r'
  readonly base: string
  readonly notNull: boolean
  readonly default: string | null
  readonly checks: readonly string[]
  readonly attributes: readonly { readonly name: string; readonly type: string }[]
  readonly labels: readonly string[]
}

export interface SequenceFact {
  readonly schema: string
  readonly name: string
  readonly options: string
  /** Of an identity column: made by the column itself. */
  readonly identity: boolean
  /** Table (`schema.table`) and column that own it. */
  readonly table: string | null
  readonly column: string | null
}

export interface PartitionFact {
  readonly table: string
  /** `RANGE (d)`, or null for a leaf. */
  readonly key: string | null
  readonly columns: readonly string[]
  readonly parent: string | null
  readonly bound: string | null
}

export interface DependentFact {
  readonly table: string
  readonly column: string
  readonly kind: 'view' | 'policy' | 'trigger' | 'generated'
  readonly name: string
  readonly definition: string
}

/**
 * True when an expression may mind whether these columns are numbers or text. It does not where it only asks whether they are null, or
 * whether two of them are equal.
 */
export function mindsType(expression: string, columns: readonly string[]): boolean {
  if (columns.length === 0) return false
  const name = `(?:${columns.flatMap((c) => [`"${escape(c.replaceAll('"', '""'))}"`, `(?<![\\w"$])${escape(c)}(?![\\w"$])`]).join('|')})`
  const rest = expression.replace(/\bnum_(non)?nulls\([^()]*\)/g, '')
    .replace(new RegExp(`${name} IS (NOT )?NULL\\b`, 'g'), '').replace(new RegExp(`${name} (=|<>) ${name}`, 'g'), '')
  return new RegExp(name).test(rest)
}

function escape(text: string): string {
  return text.replace(/[^\w]/g, '\\$&')
}
