import type { OrderedKey } from './ids.ts'
import type { ColumnRule, Mapping, TableRule, ValueMap } from './mapping.ts'
import { objectColumns } from './named-objects.ts'
import { nameOf, type Relation } from './relation.ts'
import { RekeyError } from './errors.ts'
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
  readonly position: ReadonlyMap<string, number>
}

export type Minters = ReadonlyMap<string, Minter>

/**
 * Throws RekeyError SCHEMA_CHANGED when the source table has lost a column that the rule needs, or has one the mapping has no verdict for.
 */
export function compileProgram(mapping: Mapping, minters: Minters, relation: Relation): Program {
  const rule = mapping.tables.get(nameOf(relation))
  if (!rule) throw new RekeyError('MAPPING', `table ${nameOf(relation)} is captured but has no rule`)
  const position = new Map(relation.columns.map((column, i) => [column.name, i]))
  const at = (column: string): number => {
    const found = position.get(column)
    if (found === undefined) throw new RekeyError('SCHEMA_CHANGED', `${nameOf(relation)} no longer has the column ${column}`)
    return found
  }
  if (rule.verdict === 'move' || rule.verdict === 'merge') refuseUnknown(rule, relation)
  const columns = rule.columns.map((column) => stepOf(column, { mapping, minters, rule, at }))
  objectColumns(rule).forEach(at)
  const targetKeyAt = rule.targetKey.map((name) => rule.columns.findIndex((column) => column.target === name))
  return {
    rule, name: nameOf(rule.source), relation, columns, targetKeyAt, position,
    key: rule.key.map(at),
    whole: fuse(columns),
    targetKey: targetKeyAt.map((i) => columns[i]),
    asks: rule.objects.length > 0 || columns.some((step) => step.kind === 'decided' || step.kind === 'renamed'
      || (step.kind === 'value' && step.map.kind !== 'constant')),
  }
}

function refuseUnknown(rule: TableRule, relation: Relation): void {
  const known = new Set([...rule.columns.map((c) => c.source), ...rule.columns.flatMap((c) => columnsOf(c.map)), ...objectColumns(rule),
    ...rule.dropped.map((d) => d.column)])
  const added = relation.columns.find((column) => !known.has(column.name))
  if (added) throw new RekeyError('SCHEMA_CHANGED',
    `${nameOf(relation)} has the column ${added.name}, for which the mapping has no verdict`)
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
