import type { CatalogColumn, CatalogTable, UniqueKey } from '../../src/core/catalog.ts'
import type { Part, TableWrite } from '../../src/core/plan.ts'
import { quoteIdent, quoteName } from '../../src/core/quote.ts'
import { joined } from './equal.ts'
import { settable } from './existing.ts'
import { type Message, stageOf } from './stage.ts'
import { children, type ColumnSet, fill, type Scope } from './statements.ts'
import { leaveStrangers, refuseStrangers } from './strangers.ts'

/**
 * Rows that exchange unique values (1 and 2 become 2 and 1) meet each other on the way where the constraint is checked row by row. So first
 * every such row gets a value that nobody has, and then its own: null where that counts as distinct, else a number above all, a text of
 * chance, a day after all. One column of each unique key is enough. So do rows that go after others come. Returns the names of the keys of which no column takes such a value.
 */
export function vacateMessage(part: Part, scope: Scope, out: Message): string[] {
  const unable = new Set<string>()
  for (const write of part.writes) {
    const every = write.columns.map((_, i) => i)
    const guarded = part.guarded === true
    for (const set of [...write.updates.values(), { columns: every, lines: write.upserts }]) {
      if (set.lines.rows > 0) for (const name of vacate(write, set, { scope, out, guarded })) unable.add(name)
    }
    if (write.deletes.rows > 0) vacateDeleted(write, { scope, out, guarded })
  }
  for (const write of scope.gone?.values() ?? []) vacateGoing(write, stageOf(write.target, 'g'), { scope, out })
  return [...unable]
}

interface Vacating {
  readonly scope: Scope
  readonly out: Message
  /** As of Part. */
  readonly guarded: boolean
}

function vacate(write: TableWrite, { columns, lines }: ColumnSet, { scope, out, guarded }: Vacating): string[] {
  const { target, rule } = write
  const names = columns.map((i) => write.columns[i])
  const free = settable(target, names.filter((name) => !rule.targetKey.includes(name)))
  const keys = target.uniques.filter((key) => !key.deferrable && key.columns.some((name) => free.includes(name)))
  if (keys.length === 0) return []
  const stage = stageOf(target, 's')
  fill(stage, names, lines, { scope, out })
  // Before it is written to: from then on its last writer is us.
  if (guarded) refuseStrangers(write, { stage, key: rule.targetKey, pipeline: scope.pipeline }, out)
  return keys.flatMap((key) => {
    const place = placeOf(key, target, { free, scope })
    if (place === null) return [key.name]
    const changed = key.columns.filter((name) => free.includes(name)).map((name) => `t.${quoteIdent(name)}::text is distinct from s.${quoteIdent(name)}::text`)
    const numbered = `(select *, row_number() over () as rekey_n from ${stage})`
    const where = `${joined(target, rule.targetKey, stage)} and (${changed.join(' or ')})`
    out.sql.push(`update ${quoteName(target)} t set ${quoteIdent(place.column)} = ${place.value} from ${numbered} s where ${where}`)
    return []
  })
}

function vacateDeleted(write: TableWrite, { scope, out, guarded }: Vacating): void {
  const stage = stageOf(write.target, 'd')
  fill(stage, write.rule.targetKey, write.deletes, { scope, out })
  if (guarded) leaveStrangers(write, { stage, key: write.rule.targetKey, pipeline: scope.pipeline }, out)
  vacateGoing(write, stage, { scope, out })
}

/** Rows that go, but only when nothing points at them any more, give up their unique values before others come. */
function vacateGoing({ target, rule, columns }: TableWrite, stage: string, { scope, out }: { scope: Scope; out: Message }): void {
  const free = settable(target, columns.filter((name) => !rule.targetKey.includes(name)))
  const places = target.uniques.filter((key) => !key.deferrable).flatMap((key) => placeOf(key, target, { free, scope }) ?? [])
  const numbered = `(select *, row_number() over () as rekey_n from ${stage})`
  for (const { column, value } of places) {
    out.sql.push(`update ${quoteName(target)} t set ${quoteIdent(column)} = ${value} from ${numbered} s where ${joined(target, rule.targetKey, stage)}`)
  }
}

interface Place {
  readonly column: string
  readonly value: string
}

/** The column of a unique key that can hold something else for a moment, and what. A value that others refer to, or that refers, cannot. */
function placeOf(key: UniqueKey, target: CatalogTable, { free, scope }: { free: readonly string[]; scope: Scope }): Place | null {
  const candidates = key.columns.filter((name) => free.includes(name) && !children(target, scope.tables).some(({ fk }) => fk.targetColumns.includes(name)))
    .map((name) => target.columns.find((column) => column.name === name)!)
  const nullable = /nulls not distinct/i.test(key.definition) ? undefined : candidates.find((column) => column.nullable)
  if (nullable) return { column: nullable.name, value: 'null' }
  for (const column of candidates) {
    const value = target.foreignKeys.some((fk) => fk.columns.includes(column.name)) ? null : nobodys(column, target)
    if (value !== null) return { column: column.name, value }
  }
  return null
}

/** A value for row `s.rekey_n` that no row of the table has. */
function nobodys({ name, type }: CatalogColumn, target: CatalogTable): string | null {
  const [, base, length] = /^([a-z ]+?)(?:\((\d+)[^)]*\))?( with(?:out)? time zone)?$/.exec(type) ?? []
  const most = (where = ''): string => `(select max(m.${quoteIdent(name)}) from ${quoteName(target)} m${where})`
  switch (base) {
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'numeric':
      return `(greatest(${most()}, 0) + s.rekey_n)::${type}`
    case 'text':
    case 'citext':
      return `'rekey ' || gen_random_uuid()`
    case 'character varying':
    case 'character':
      return length !== undefined && Number(length) < 16 ? null : `left(replace(gen_random_uuid()::text, '-', ''), ${length ?? 32})`
    case 'uuid':
      return 'gen_random_uuid()'
    case 'date':
    case 'timestamp':
    case 'timestamp without time zone':
    case 'timestamp with time zone':
      return `(${most(` where isfinite(m.${quoteIdent(name)})`)} + s.rekey_n * interval '1 day')::${type}`
    default:
      return null
  }
}
