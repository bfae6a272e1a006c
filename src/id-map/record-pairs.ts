import type { Transaction } from '../core/change.ts'
import { RekeyError } from '../core/errors.ts'
import type { Entity, Mapping } from '../core/mapping.ts'
import type { Minters, Program } from '../core/program.ts'
import type { Relation } from '../core/relation.ts'
import { escapeField, isNull, isUnchanged, textField } from '../core/row.ts'
import type { Pair, PairShelf } from '../ports.ts'
import type { Note } from '../progress.ts'

export interface PairOptions {
  readonly shelf: PairShelf
  readonly mapping: Mapping
  readonly minters: Minters
  /** The next keys of an entity at the source, in the order of its key. */
  readonly page: (entity: Entity, after: string | null, limit: number) => Promise<readonly string[]>
  /** For each of these ids of an entity, whether its row is at the destination. */
  readonly there: (entity: Entity, ids: readonly string[]) => Promise<readonly boolean[]>
  readonly note: (note: Note) => void
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>
}

/** Entities whose ids are nowhere but in the rows: computed from the key, without an entry of the ledger. */
export function computedEntities(mapping: Mapping): Entity[] {
  return [...mapping.entities.values()].filter(({ decided, table }) => {
    const rule = mapping.tables.get(table)
    return !decided && rule?.verdict === 'move' && !rule.ledger
  })
}

/**
 * Puts the pairs of new rows on the shelf when they are committed. A transaction in fragments is not kept in mind for that: the shelf is
 * filled again after it.
 */
export function recordCommitted({ shelf, mapping, minters }: Pick<PairOptions, 'shelf' | 'mapping' | 'minters'>) {
  const byTable = new Map<string, Entity[]>()
  for (const entity of computedEntities(mapping)) byTable.set(entity.table, [...(byTable.get(entity.table) ?? []), entity])
  return (transactions: readonly Transaction[], programOf: (relation: Relation) => Program): void => {
    if (transactions.some((t) => t.first > 0)) shelf.lacks()
    const pairs = new Map<string, Pair[]>()
    for (const { changes } of transactions) {
      for (const { op, relation, row, old } of changes) {
        if (row === null || (op !== 'insert' && old === null)) continue
        const program = programOf(relation)
        for (const { name, column } of byTable.get(program.name) ?? []) {
          const at = program.position.get(column)
          if (at === undefined || isUnchanged(row, at) || isNull(row, at)) continue
          const pair = pairOf(name, textField(row, at)!, minters)
          if (pair === null) continue
          const some = pairs.get(name) ?? []
          pairs.set(name, some)
          some.push(pair)
        }
      }
    }
    for (const [entity, some] of pairs) shelf.put(entity, some)
  }
}

function pairOf(entity: string, key: string, minters: Minters): Pair | null {
  const id = minters.get(entity)!.mint(key)
  return id === null ? null : [raw(key), raw(id)]
}

function raw(text: string): string {
  return escapeField(Buffer.from(text, 'utf8')).toString('latin1')
}

const PAGE = 2_000
const LOOK_MS = 1_000
/** After a filling comes a rest of so many times its length before another one. */
const REST = 10

/** Fills the shelf whenever it is not complete, from the keys of the source whose rows are at the destination. Until the signal aborts. */
export async function keepPairs(options: PairOptions, signal: AbortSignal): Promise<void> {
  const { shelf, note, pause } = options
  let notBefore = 0
  while (!signal.aborted) {
    try {
      if (performance.now() >= notBefore && (await shelf.complete()) === false) {
        const began = performance.now()
        await shelf.completedBy(() => fill(options, signal))
        notBefore = performance.now() + REST * (performance.now() - began)
      }
    } catch (error) {
      if (!(error instanceof RekeyError)) throw error
      note({ level: 'warn', event: 'idmap', text: `computed pairs could not be recorded: ${error.message}` })
    }
    await pause(LOOK_MS, signal)
  }
}

async function fill({ shelf, mapping, minters, page, there, note, pause }: PairOptions, signal: AbortSignal): Promise<boolean> {
  let count = 0
  for (const entity of computedEntities(mapping)) {
    for (let after: string | null = null; ;) {
      const keys: readonly string[] = await page(entity, after, PAGE)
      const pairs = keys.map((key) => pairOf(entity.name, key, minters)).filter((pair) => pair !== null)
      const found = pairs.length > 0 ? await there(entity, pairs.map(([, id]) => Buffer.from(id, 'latin1').toString('utf8'))) : []
      shelf.put(entity.name, pairs.filter((_, i) => found[i]))
      count += pairs.length
      // Others use the same connections and servers.
      await pause(0, signal)
      if (signal.aborted) return false
      if (keys.length < PAGE) break
      after = keys.at(-1)!
    }
  }
  note({ level: 'info', event: 'idmap', text: `computed pairs are recorded: ${count}` })
  return true
}
