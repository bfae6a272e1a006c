import { tableOf, type Catalog } from './catalog.ts'
import { formatLsn, parseLsn, type Lsn } from './lsn.ts'
import type { Entity, Mapping, TableRule } from './mapping.ts'

/**
 * What a mapping means for rows: which are carried, under which ids, what they are matched by, what becomes of their values. A run keeps it, so that
 * an edit that would treat later rows otherwise than earlier ones is refused by name, and one that follows a change of the source's tables
 * is not. It is compared as JSON; triggers, truncate, reasons and the order of tables may change at any time.
 */
export interface Meaning {
  readonly entities: Readonly<Record<string, unknown>>
  readonly stores: Readonly<Record<string, unknown>>
  /** Carried tables, by source name. */
  readonly tables: Readonly<Record<string, TableMeaning>>
}

interface TableMeaning {
  readonly facts: Readonly<Record<string, unknown>>
  readonly columns: readonly { readonly source: string | null; readonly target: string; readonly map: unknown; readonly keep: unknown }[]
  /** Source columns that were there and not carried. */
  readonly dropped: readonly string[]
  /** Source columns that came while the run was under way, with the commit LSN (as text) up to which changes may lack them. */
  readonly added: Readonly<Record<string, string | null>>
}

export function meaningOf(mapping: Mapping): Meaning {
  return plain({
    entities: Object.fromEntries(mapping.entities), stores: Object.fromEntries(mapping.stores),
    tables: Object.fromEntries([...mapping.tables].filter(([, rule]) => isCarried(rule)).map(([name, rule]) => [name, tableMeaning(rule)])),
  }) as Meaning
}

function isCarried(rule: TableRule): boolean {
  return rule.verdict === 'move' || rule.verdict === 'merge'
}

function tableMeaning(rule: TableRule): unknown {
  const { verdict, target, key, targetKey, keyed, entity, where, merge, rename, pinned, mergedParents, adopt, objects } = rule
  return {
    // By the word that the mapping has for it.
    facts: { verdict, to: target, key, 'the key at the destination': [targetKey, keyed], 'its entity': entity, where, on: merge?.on ?? null, rename,
      pinned, whenMerged: mergedParents, adopt, objects },
    columns: rule.columns.map((column) => ({ source: column.source, target: column.target, map: column.map, keep: merge?.keep.get(column.target) ?? null })),
    dropped: rule.dropped.map(({ column }) => column),
    added: Object.fromEntries([...rule.added].map(([column, lsn]) => [column, lsn === null ? null : formatLsn(lsn)])),
  }
}

/** As it is after it was stored: maps as lists of pairs, bigints as text. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, one: unknown) => (one instanceof Map ? [...one] : typeof one === 'bigint' ? String(one) : one)))
}

/** The mapping of a run that began with another one: source columns that are new since may be missing in changes up to `now`. */
export function withHistory(mapping: Mapping, then: Meaning, now: Lsn): Mapping {
  const tables = [...mapping.tables].map(([name, rule]): [string, TableRule] => {
    const was = then.tables[name]
    if (!was || !isCarried(rule)) return [name, rule]
    const known = new Set([...was.columns.map(({ source }) => source), ...was.dropped].map((column) => column !== null && presentName(rule, column)))
    const fresh = rule.columns.flatMap(({ source }) => (source === null || known.has(source) ? [] : [source]))
    const earlier = Object.keys(was.added).map((column) => presentName(rule, column)).filter((column) => rule.columns.some((c) => c.source === column))
    const since = (column: string): Lsn => {
      const [, stored] = Object.entries(was.added).find(([name]) => presentName(rule, name) === column) ?? []
      return stored ? parseLsn(stored) : now
    }
    return [name, { ...rule, added: new Map([...rule.added.keys(), ...earlier, ...fresh].map((column) => [column, since(column)])) }]
  })
  return { ...mapping, tables: new Map(tables) }
}

function presentName({ former }: TableRule, column: string): string {
  return former.get(column) ?? column
}

/** What an edit changed that must not change while a run is under way: a sentence each. */
export function changedMeaning(then: Meaning, mapping: Mapping, catalogs: { readonly source: Catalog; readonly destination: Catalog }): string[] {
  const now = meaningOf(mapping)
  const told: string[] = []
  for (const [what, kind] of [['entities', 'entity'], ['stores', 'store']] as const) {
    for (const [name, meant] of Object.entries(then[what])) {
      const was = what === 'entities' ? renamedEntity(meant, mapping) : meant
      if (now[what][name] === undefined) told.push(`the ${kind} ${name} is gone`)
      else if (!same(was, now[what][name])) told.push(`the ${kind} ${name} is another: ${differing(was, now[what][name])}`)
    }
  }
  for (const name of Object.keys(now.tables)) if (!then.tables[name]) told.push(`${name} is carried now: its rows were not copied`)
  for (const [name, was] of Object.entries(then.tables)) {
    const rule = mapping.tables.get(name)
    if (!rule || !now.tables[name]) told.push(`${name} is not carried any more`)
    else told.push(...changedTable(name, { was: renamedIn(was, rule), is: now.tables[name] }, { rule, ...catalogs }))
  }
  return told
}

interface Both {
  readonly was: TableMeaning
  readonly is: TableMeaning
}
interface Sides {
  readonly rule: TableRule
  readonly source: Catalog
  readonly destination: Catalog
}

function changedTable(name: string, { was, is }: Both, { rule, source, destination }: Sides): string[] {
  const told = Object.keys(was.facts).filter((fact) => !same(was.facts[fact], is.facts[fact])).map((fact) => `${name}: ${fact} was changed`)
  const there = new Set(tableOf(source, rule.source)?.columns.map((column) => column.name))
  const targets = new Set(tableOf(destination, rule.target)?.columns.map((column) => column.name))
  for (const column of was.columns) {
    const label = `${name}.${column.source ?? column.target}`
    if (column.source === null ? !targets.has(column.target) : !there.has(column.source)) continue
    const found = is.columns.find((one) => (column.source === null ? one.source === null && one.target === column.target : one.source === column.source))
    if (!found) told.push(`${label} was ${column.source === null ? 'filled' : 'carried'} and is not any more`)
    else if (!same(column.map, found.map)) told.push(`${label}: what becomes of its values was changed`)
    else if (!same(column.keep, found.keep)) told.push(`${label}: keep was changed`)
    else if (column.target !== found.target && targets.has(column.target)) told.push(`${label} went to ${column.target}, which is still there, and goes to ${found.target} now`)
  }
  for (const { source: from, target } of is.columns) {
    if (from !== null && was.dropped.includes(from)) told.push(`${name}.${from} was not carried: rows that are there lack its values`)
    if (from === null && !was.columns.some((one) => one.target === target)) told.push(`${name}.${target} is filled now: rows that are there are not`)
  }
  return told
}

/** What was said of a table, with the present names of its source columns. */
function renamedIn(was: TableMeaning, rule: TableRule): TableMeaning {
  if (rule.former.size === 0) return was
  const name = (column: string): string => presentName(rule, column)
  const { key, where, whenMerged, adopt, objects, ...facts } = was.facts
  return {
    facts: { ...facts, key: (key as string[]).map(name), where: inside(where, name), whenMerged: inside(whenMerged, name), adopt, objects: inside(objects, name) },
    columns: was.columns.map((one) => ({ ...one, source: one.source === null ? null : name(one.source), map: inside(one.map, name) })),
    dropped: was.dropped.map(name), added: was.added,
  }
}

function renamedEntity(was: unknown, { tables }: Mapping): unknown {
  const { table, column } = was as Pick<Entity, 'table' | 'column'>
  const rule = tables.get(table)
  return rule ? { ...(was as object), column: presentName(rule, column) } : was
}

/** Maps, conditions and keys of objects name source columns as `column`, `size` and in `version`. */
function inside(value: unknown, name: (column: string) => string): unknown {
  if (Array.isArray(value)) return value.map((one) => inside(one, name))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key,
    (key === 'column' || key === 'size') && typeof one === 'string' ? name(one) : key === 'version' ? (one as string[]).map(name) : inside(one, name)]))
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** The members that differ, by name. */
function differing(a: unknown, b: unknown): string {
  const [one, other] = [a, b] as [Record<string, unknown>, Record<string, unknown>]
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((key) => !same(one[key], other[key])).join(', ')
}
