import { tableOf, type Catalog, type CatalogColumn } from '../catalog.ts'
import type { DestinationFacts, SourceFacts } from './facts.ts'
import { wholeIds } from '../compile/fit.ts'
import type { TypeFact } from '../ddl/facts.ts'
import { reportOf, type Finding, type Report } from './finding.ts'
import type { ColumnRule, Mapping, TableRule } from '../mapping.ts'
import { quoteIdent, quoteLiteral, quoteName } from '../quote.ts'
import { nameOf } from '../relation.ts'

export interface SchemaInput {
  readonly source: { readonly catalog: Catalog; readonly facts: SourceFacts }
  readonly destination: { readonly catalog: Catalog; readonly facts: DestinationFacts }
  readonly mapping: Mapping
}

/** Do the two schemas carry the same values, and what does replication leave out? */
export function judgeSchema(input: SchemaInput): Finding[] {
  const report = reportOf('schema')
  judgeTypes(input, report)
  judgeExtensions(input, report)
  judgeLargest(input.source.facts, report)
  const carried = [...input.mapping.tables.values()].filter((rule) => rule.verdict === 'move' || rule.verdict === 'merge')
  for (const rule of carried) judgeColumns(rule, input, report)
  judgeNotReplicated(input, report)
  return report.findings
}

function bare(type: string): string {
  return type.replace(/(\[\])+$/, '')
}

/** Types of users that stand on both sides of a column whose values are copied: by their definitions. */
function judgeTypes({ source, destination, mapping }: SchemaInput, report: Report): void {
  const pairs = new Map<string, [string, string]>()
  for (const rule of mapping.tables.values()) {
    const from = tableOf(source.catalog, rule.source)
    for (const { source: name, type, map } of rule.columns) {
      const column = from?.columns.find((c) => c.name === name)
      if (column && map.kind === 'copy') pairs.set(`${bare(column.type)} ${bare(type)}`, [bare(column.type), bare(type)])
    }
  }
  for (const [from, to] of pairs.values()) {
    const one = source.facts.types?.find((t) => t.name === from)
    const other = destination.facts.types?.find((t) => t.name === to)
    if (one && other) compareTypes(one, other, report)
  }
}

function compareTypes(one: TypeFact, other: TypeFact, report: Report): void {
  const subject = other.name
  if (one.kind !== other.kind) {
    report.warning({ code: 'TYPE_KIND', subject, message: `it is another kind of type than ${one.name} at the source`,
      fix: 'Make sure that every value fits.' })
  } else if (one.kind === 'e') {
    const missing = one.labels.filter((label) => !other.labels.includes(label))
    if (missing.length > 0) {
      report.warning({
        code: 'ENUM_LABELS', subject, message: `it lacks ${missing.join(', ')}; rows with these are parked`,
        fix: missing.map((label) => `alter type ${subject} add value ${quoteLiteral(label)};`).join(' '),
      })
    }
    const shared = (labels: readonly string[], there: readonly string[]): string => labels.filter((l) => there.includes(l)).join('\n')
    if (shared(one.labels, other.labels) !== shared(other.labels, one.labels)) {
      report.info({ code: 'ENUM_ORDER', subject,
        message: 'its labels have another order than at the source: comparisons and sorting differ', fix: '' })
    }
  } else if (definition(one) !== definition(other)) {
    report.warning({
      code: 'TYPE_DEFINITION', subject, message: `its definition is not that of ${one.name} at the source`,
      fix: `Source: ${definition(one)}. Destination: ${definition(other)}. Rows that do not fit are parked.`,
    })
  }
}

function definition({ kind, base, notNull, checks, attributes }: TypeFact): string {
  if (kind === 'd') return [base, ...(notNull ? ['not null'] : []), ...[...checks].sort()].join(' ')
  return attributes.map((a) => `${a.name} ${a.type}`).join(', ')
}

function judgeExtensions({ source, destination }: SchemaInput, report: Report): void {
  for (const [name, version] of source.catalog.extensions) {
    const there = destination.catalog.extensions.get(name)
    if (there === undefined) {
      report.warning({ code: 'EXTENSION', subject: name, message: 'the source has this extension, the destination does not',
        fix: `create extension ${quoteIdent(name)}; if the application uses it.` })
    } else if (there !== version && name !== 'plpgsql') {
      report.warning({
        code: 'EXTENSION', subject: name,
        message: `version ${version} at the source, ${there} at the destination: values of its types may be printed otherwise`,
        fix: `alter extension ${quoteIdent(name)} update; on the older side.`,
      })
    }
  }
}

/** Values are sent as text, bytea as two characters a byte, and no text may be longer than 1 GB (manual, "Limits" and libpq's buffers). */
const LARGEST_BYTEA = 500e6
const LARGEST_TEXT = 900e6

function judgeLargest({ largest }: SourceFacts, report: Report): void {
  for (const { table, column, type, bytes } of largest) {
    const limit = type === 'bytea' ? LARGEST_BYTEA : LARGEST_TEXT
    if (bytes < limit) continue
    report.error({
      code: 'VALUE_TOO_LARGE', subject: `${table}.${column}`,
      message: `a value of ${Math.round(bytes / 1e6)} MB cannot be sent as text; the slot would stop at it for good`,
      fix: 'Move such values to an object store first, or drop the column in the mapping.',
    })
  }
}

function judgeColumns(rule: TableRule, input: SchemaInput, report: Report): void {
  const from = tableOf(input.source.catalog, rule.source)
  const to = tableOf(input.destination.catalog, rule.target)
  if (!from || !to) return
  const sorted = rule.columns.filter((c) => isTextId(c, input.mapping)).flatMap((c) => to.columns.find((t) => t.name === c.target) ?? [])
    .filter((c) => isLinguistic(c, input.destination.catalog))
  if (sorted.length > 0) {
    const changes = sorted.map((c) => `alter column ${quoteIdent(c.name)} type ${c.type} collate "C"`).join(', ')
    report.warning({
      code: 'ID_COLLATION', subject: nameOf(to),
      message: `ids in ${sorted.map((c) => c.name).join(', ')} are sorted as words of a language, which costs time in every index`,
      fix: `alter table ${quoteName(to)} ${changes}; (rewrites the table's indexes; foreign keys need both sides)`,
    })
  }
  judgeSequences(rule, input, report)
  const generated = from.columns.filter((c) => c.generated).map((c) => c.name)
  if (generated.length > 0) {
    report.info({
      code: 'GENERATED', subject: nameOf(from),
      message: `${generated.join(', ')} is computed by the database: it is not sent, the destination computes its own`,
      fix: '',
    })
  }
  const parents = (input.source.facts.inherited ?? []).filter((i) => i.child === nameOf(from) || i.parent === nameOf(from))
  if (parents.length > 0) {
    report.warning({
      code: 'INHERITANCE', subject: nameOf(from),
      message: 'it is part of an inheritance tree: each table of the tree is carried for itself',
      fix: 'Give every table of the tree a verdict.',
    })
  }
}

function isTextId({ map }: ColumnRule, mapping: Mapping): boolean {
  return wholeIds(map).some(({ entity }) => ['prefixed', 'random', 'literal'].includes(mapping.entities.get(entity)?.strategy.kind ?? ''))
}

/** A null collation cannot be told; `default` is the database's. */
function isLinguistic(column: CatalogColumn, { collation }: Catalog): boolean {
  const name = column.collation === 'default' ? collation : column.collation
  return name !== null && !/^(C|POSIX|ucs_basic)$/.test(name)
}

/** Numbers that we write into a column that the destination numbers itself. */
function judgeSequences(rule: TableRule, { destination, mapping }: SchemaInput, report: Report): void {
  for (const column of rule.columns.filter((c) => c.source !== null && !isTextId(c, mapping))) {
    const owner = `${nameOf(rule.target)}.${column.target}`
    for (const sequence of destination.catalog.sequences.filter((s) => s.ownedBy === owner)) {
      const name = quoteLiteral(quoteName(sequence))
      report.warning({
        code: 'SEQUENCE', subject: owner,
        message: `explicit numbers do not move ${nameOf(sequence)} (now ${sequence.last ?? 'unused'}): ` +
          `the application's next row may collide`,
        fix: 'Before the application writes: ' +
          `select setval(${name}, (select max(${quoteIdent(column.target)}) from ${quoteName(rule.target)}) + 1000);`,
      })
    }
  }
}

/** What logical decoding leaves out (manual, 31 "Restrictions"). */
function judgeNotReplicated({ source, mapping }: SchemaInput, report: Report): void {
  const { catalog, facts } = source
  const tell = (what: string, names: readonly string[]): void => {
    if (names.length === 0) return
    report.info({ code: 'NOT_REPLICATED', subject: 'source',
      message: `${what}: ${names.slice(0, 20).join(', ')}${names.length > 20 ? ` and ${names.length - 20} more` : ''}`, fix: '' })
  }
  tell('unlogged tables are not carried', catalog.tables.filter((t) => t.persistence === 'u').map(nameOf))
  tell('foreign tables are not carried', catalog.tables.filter((t) => t.kind === 'f').map(nameOf))
  tell('materialized views are not carried; refresh them afterwards', catalog.tables.filter((t) => t.kind === 'm').map(nameOf))
  tell('sequences are not carried; numbers that stay are told one by one', catalog.sequences.filter((s) => s.ownedBy === null).map(nameOf))
  if ((facts.largeObjects ?? 0) > 0) {
    const oids = [...mapping.tables.values()].filter((r) => r.verdict !== 'skip')
      .flatMap((r) => (tableOf(catalog, r.source)?.columns ?? []).filter((c) => c.type === 'oid' || c.type === 'lo').map((c) =>
        `${nameOf(r.source)}.${c.name}`))
    report.warning({
      code: 'LARGE_OBJECTS', subject: 'source',
      message: `${facts.largeObjects} large objects are not carried${oids.length > 0 ? `; ${oids.join(', ')} may point at them` : ''}`,
      fix: 'Copy them by other means (pg_dump --blobs), or turn them into bytea columns first.',
    })
  }
}
