import type { OrderedKey } from './ids/ids.ts'
import type { ColumnRule, Mapping, TableRule, ValueMap } from './mapping.ts'
import { objectColumns } from './objects/columns.ts'
import { nameOf, type Relation } from './relation.ts'
import { RekeyError } from './errors.ts'
import type { Lsn } from './lsn.ts'
import { columnsOf } from './value.ts'

/** How the ids of an entity are made where they can be computed. `ordered` is the fast way; `mint` takes and gives text. */
export interface Minter {
  readonly ordered: OrderedKey | null
  mint(key: string): string | null
  /** The source key of an id that we made; null when that cannot be told from the id. */
  unmint(id: string): string | null
}

/** What to write for one destination column, or for a run of neighbouring ones that are copied as they are. */
export type Step =
  | { readonly kind: 'copy'; readonly from: number; readonly to: number }
  | { readonly kind: 'ordered'; readonly from: number; readonly key: OrderedKey }
  | { readonly kind: 'mint'; readonly from: number; readonly minter: Minter }
  /** The id is a decision: asked by entity and raw key. */
  | { readonly kind: 'decided'; readonly from: number; readonly entity: string }
  /** Copied, unless the destination has another row with this unique value: then what was decided for the row. */
  | { readonly kind: 'renamed'; readonly from: number; readonly entity: string }
  | { readonly kind: 'value'; readonly from: number; readonly map: ValueMap; readonly needs: readonly string[] }

/** A table rule against one shape of its source table: positions instead of names. */
export interface Program {
  readonly rule: TableRule
  /** nameOf(rule.source). */
  readonly name: string
  readonly relation: Relation
  /** Positions of the key columns in the source row. */
  readonly key: readonly number[]
  /** Old rows do not tell all of the key: the table has got another replica identity than it had when the mapping was compiled. */
  readonly blind: boolean
  /** One step a destination column. */
  readonly columns: readonly Step[]
  /** The same for whole rows, with neighbouring copies made into one. */
  readonly whole: readonly Step[]
  /** Steps of the destination key's columns. */
  readonly targetKey: readonly Step[]
  /** Positions in `columns` of the destination key's columns. */
  readonly targetKeyAt: readonly number[]
  /** True when any step, or the key of an object, asks for decisions. */
  readonly asks: boolean
  /** By the column's present name. */
  readonly position: ReadonlyMap<string, number>
  /** This shape is from before a column was added; a change behind this commit LSN cannot have it: the column is gone since. */
  readonly until: Lsn | null
  /** A column that had another type than it has at present; a change behind this commit LSN shows that it has another one by now. */
  readonly retyped?: { readonly column: string; readonly after: Lsn }
}

export type Minters = ReadonlyMap<string, Minter>

/**
 * What the mapping makes of a table in one of the shapes that it had. Destination columns that come from a column that was added later are
 * left out of the rule: new rows get the destination's default there, as with Postgres's own replication; other rows keep what they have.
 * Throws RekeyError SCHEMA_CHANGED when the source table has lost a column that the rule needs, or has one the mapping has no verdict for.
 */
export function compileProgram(mapping: Mapping, minters: Minters, relation: Relation): Program {
  const whole = mapping.tables.get(nameOf(relation))
  if (!whole) throw new RekeyError('MAPPING', `table ${nameOf(relation)} is captured but has no rule`)
  const position = new Map(relation.columns.map((column, i) => [column.name, i]))
  for (const [name, now] of whole.former) {
    const i = position.get(name)
    if (i !== undefined && now !== null && !position.has(now)) position.set(now, i)
  }
  const at = (column: string): number => {
    const found = position.get(column)
    if (found === undefined) throw new RekeyError('SCHEMA_CHANGED', `${nameOf(relation)} no longer has the column ${column}`)
    return found
  }
  if (whole.verdict === 'move' || whole.verdict === 'merge') refuseUnknown(whole, relation)
  const lacking = [...whole.added.keys()].filter((column) => !position.has(column))
  const rule = lacking.length === 0 ? whole : without(whole, lacking)
  const columns = rule.columns.map((column) => stepOf(column, { mapping, minters, rule, at }))
  objectColumns(rule).forEach(at)
  const targetKeyAt = rule.targetKey.map((name) => rule.columns.findIndex((column) => column.target === name))
  return {
    rule, name: nameOf(rule.source), relation, columns, targetKeyAt, position, until: until(whole, lacking),
    key: rule.key.map(at), blind: isBlind(relation, rule.key.map(at)),
    whole: fuse(columns),
    targetKey: targetKeyAt.map((i) => columns[i]),
    asks: rule.objects.length > 0 || columns.some((step) => step.kind === 'decided' || step.kind === 'renamed'
      || (step.kind === 'value' && step.map.kind !== 'constant')),
  }
}

/** Where nothing is known of the replica identity, old rows must show it themselves. */
function isBlind({ identity, columns }: Relation, key: readonly number[]): boolean {
  return identity !== 'f' && columns.some((column) => column.key) && !key.every((i) => columns[i].key)
}

function refuseUnknown(rule: TableRule, relation: Relation): void {
  const known = new Set([...rule.columns.map((c) => c.source), ...rule.columns.flatMap((c) => columnsOf(c.map)), ...objectColumns(rule),
    ...rule.dropped.map((d) => d.column), ...rule.former.keys()])
  const added = relation.columns.find((column) => !known.has(column.name))
  if (added) throw new RekeyError('SCHEMA_CHANGED',
    `${nameOf(relation)} has the column ${added.name}, for which the mapping has no verdict`)
}

/** The rule for changes from before these columns were added. What finds a row or decides about it cannot do without them. */
function without(rule: TableRule, lacking: readonly string[]): TableRule {
  const columns = rule.columns.filter(({ source, map }) => ![source, ...columnsOf(map)].some((name) => name !== null && lacking.includes(name)))
  const needed = [...rule.targetKey, ...(rule.merge?.on.flat().map((part) => part.column) ?? []), ...rule.rename.flatMap((one) => one.unique),
    ...(rule.adopt && 'on' in rule.adopt ? rule.adopt.on : [])]
  const missing = needed.find((target) => !columns.some((column) => column.target === target))
  if (missing !== undefined) throw new RekeyError('SCHEMA_CHANGED', `a change of ${nameOf(rule.source)} is from before a column was added that ${missing} needs`)
  return { ...rule, columns }
}

function until({ added }: TableRule, lacking: readonly string[]): Lsn | null {
  const known = lacking.flatMap((column) => added.get(column) ?? [])
  return known.length === 0 ? null : known.reduce((least, lsn) => (lsn < least ? lsn : least))
}

interface Scope {
  readonly mapping: Mapping
  readonly minters: Minters
  readonly rule: TableRule
  readonly at: (column: string) => number
}

/** The name under which a table's rows stand in the ledger. */
export function ledgerName(program: Program): string {
  return program.rule.entity ?? nameOf(program.rule.source)
}

/** The name under which renamed values of a column stand in the ledger. */
export function renameName(rule: TableRule, column: string): string {
  return `${nameOf(rule.source)}.${column}`
}

function stepOf(column: ColumnRule, { mapping, minters, rule, at }: Scope): Step {
  const from = column.source === null ? -1 : at(column.source)
  const { map } = column
  if (map.kind === 'copy' && rule.rename.some((rename) => rename.column === column.target)) return { kind: 'renamed', from,
    entity: renameName(rule, column.target) }
  if (map.kind === 'copy') return { kind: 'copy', from, to: from }
  if (map.kind !== 'ref') {
    const needs = columnsOf(map)
    needs.forEach(at)
    return { kind: 'value', from, map, needs }
  }
  const entity = mapping.entities.get(map.entity)
  const minter = minters.get(map.entity)
  if (!entity || !minter) throw new RekeyError('MAPPING', `no entity ${map.entity}`)
  if (entity.decided) return { kind: 'decided', from, entity: map.entity }
  if (entity.strategy.kind === 'keep') return { kind: 'copy', from, to: from }
  return minter.ordered ? { kind: 'ordered', from, key: minter.ordered } : { kind: 'mint', from, minter }
}

/** Copies of neighbouring source columns that are neighbours at the destination too become one range. */
function fuse(steps: readonly Step[]): Step[] {
  const fused: Step[] = []
  for (const step of steps) {
    const last = fused.at(-1)
    if (step.kind === 'copy' && last?.kind === 'copy' && last.to + 1 === step.from) fused[fused.length - 1] = { ...last, to: step.to }
    else fused.push(step)
  }
  return fused
}
