import type { CatalogTable } from '../catalog.ts'
import { fail, warn, type Draft, type Place } from './draft.ts'
import type { TableRule } from '../mapping.ts'
import { orderTables } from '../order.ts'
import { quoteName } from '../quote.ts'
import { nameOf } from '../relation.ts'

/** What concerns a table as a whole: its key on both sides, triggers, row security. */
export function checkTable(draft: Draft, place: Place, rule: TableRule): void {
  checkKey(draft, place)
  checkTargetKey(draft, place, rule)
  checkTruncate(draft, place, rule)
  checkTriggers(draft, place)
  checkNotAnId(draft, place)
  for (const [side, table] of [['source', place.table], ['destination', place.target]] as const) {
    if (table) checkName(draft, place, table, side)
    if (!table?.rowSecurity) continue
    warn(draft, {
      code: 'ROW_SECURITY', where: place.where, message: `row security is on for ${nameOf(table)} at the ${side}`,
      fix: 'Connect with a role that has BYPASSRLS, or rows stay unseen.',
    })
  }
  if (place.table.persistence === 'u') {
    fail(draft, {
      code: 'UNLOGGED', where: place.where, message: `${place.label} is unlogged: its changes are not in the write-ahead log`,
      fix: 'alter table … set logged, or skip it.',
    })
  }
  checkPartitions(draft, place)
}

/**
 * The stream says of a partition's changes what its root's identity says, and has what its own gives: old rows would be called whole that hold
 * the key alone, or lack the key.
 */
function checkLeafIdentity(draft: Draft, place: Place, leaf: CatalogTable): void {
  if (leaf.kind !== 'r' || leaf.identity === 'f') return
  const full = place.table.identity === 'f'
  if (!full && place.table.identityColumns.every((column) => leaf.identityColumns.includes(column))) return
  fail(draft, {
    code: 'NO_KEY', where: place.where, message: `${nameOf(leaf)}, a partition of ${place.label}, has another replica identity than its root`,
    fix: `alter table only ${quoteName(leaf)} replica identity ${full ? 'full' : 'default, or full'}.`,
  })
}

/** The initial copy would read such a partition through the root, and nothing would come after that. */
function checkPartitions(draft: Draft, place: Place): void {
  const { tables } = draft.source
  const below = (name: string): CatalogTable[] =>
    tables.filter((t) => t.parent !== null && nameOf(t.parent) === name).flatMap((t) => [t, ...below(nameOf(t))])
  for (const leaf of place.table.kind === 'p' ? below(nameOf(place.table)) : []) {
    checkLeafIdentity(draft, place, leaf)
    if (leaf.kind !== 'f' && leaf.persistence !== 'u') continue
    fail(draft, {
      code: 'UNLOGGED', where: place.where,
      message: `${nameOf(leaf)}, a partition of ${place.label}, is ${leaf.kind === 'f' ? 'a foreign table' : 'unlogged'}: its changes are not in the write-ahead log`,
      fix: leaf.kind === 'f' ? 'Detach it, or skip the partitioned table.' : 'alter table … set logged, or skip the partitioned table.',
    })
  }
}

/** `a.b`.c and a.`b.c` are one name here, in the mapping as in metrics, topics and the ledger. */
function checkName(draft: Draft, place: Place, table: CatalogTable, side: 'source' | 'destination'): void {
  if (!draft[side].tables.some((other) => other.schema !== table.schema && nameOf(other) === nameOf(table))) return
  fail(draft, {
    code: 'NAME_TWICE', where: place.where, message: `the ${side} has two tables that are called ${nameOf(table)}, in different schemas`,
    fix: 'Rename one of the tables or schemas, so that none has a dot in its name.',
  })
}

/** What a delete or an update carries of the old row is the replica identity: a key outside of it would not arrive. */
function checkKey(draft: Draft, place: Place): void {
  const { table, key } = place
  const missing = (place.spec.key ?? []).filter((c) => !table.columns.some((column) => column.name === c))
  if (missing.length > 0) {
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where: `${place.where}.key`,
      message: `${place.label} has no column ${missing.join(', ')}`,
      fix: 'Correct the name.',
    })
  }
  if (table.identity !== 'f' && table.identityColumns.length === 0) {
    fail(draft, {
      code: 'NO_KEY', where: place.where,
      message: `${place.label} has no replica identity: an update or delete at the source cannot be followed`,
      fix: `Add a primary key, or: alter table ${nameOf(table)} replica identity full.`,
    })
  } else if (table.identity !== 'f' && key.some((c) => !table.identityColumns.includes(c))) {
    fail(draft, {
      code: 'NO_KEY', where: `${place.where}.key`,
      message: `the replica identity of ${place.label} is (${table.identityColumns.join(', ')}); other key columns do not arrive`,
      fix: `alter table ${nameOf(table)} replica identity full, or leave \`key\` out.`,
    })
  }
  const certain = (name: string): boolean => key.includes(name) && !table.columns.some((c) => c.name === name && c.nullable)
  const exact = table.uniques.some((u) => u.usable && u.columns.every(certain))
  if (key.length > 0 && !exact) {
    warn(draft, {
      code: 'EQUAL_ROWS', where: place.where,
      message: `nothing at the source keeps two rows of ${place.label} from having the same (${key.join(', ')})`,
      fix: 'Give the table a primary key if that must not be; a delete takes one of equal rows.',
    })
  }
}

function checkTargetKey(draft: Draft, place: Place, rule: TableRule): void {
  const { target } = place
  if (target === null) return
  if (rule.targetKey.length < rule.key.length) {
    fail(draft, {
      code: 'KEY_NOT_CARRIED', where: place.where, message: `not all key columns (${rule.key.join(', ')}) have a column at the destination`,
      fix: 'Carry them, or name another `key`.',
    })
    return
  }
  if (rule.keyed || rule.targetKey.length === 0) return
  const whole = place.table.identity === 'f'
  const say = whole ? warn : fail
  say(draft, {
    code: 'TARGET_KEY', where: place.where,
    message: `no unique index on (${rule.targetKey.join(', ')}) of ${nameOf(target)} at the destination, or one of those columns may be null`,
    fix: whole ? 'Add one: without it rows are matched by all their columns, which is slow, and nothing keeps them from being there twice.'
      : `Add one at the destination (not deferrable); or alter table ${nameOf(place.table)} replica identity full at the source.`,
  })
}

/** Rows without a key are matched by their values, and a row of the destination may have the same: which are ours cannot be known. */
function checkTruncate(draft: Draft, place: Place, rule: TableRule): void {
  if (place.target === null || rule.truncate !== 'owned' || rule.keyed || !rule.ledger || rule.verdict === 'assert') return
  fail(draft, {
    code: 'TRUNCATE', where: `${place.where}.truncate`,
    message: `truncate: owned needs a key, and ${place.label} has none at the destination: which of its rows are ours cannot be told`,
    fix: 'Add a unique key at the destination, or say truncate: refuse or ignore for this table.',
  })
}

/** `off` is session_replication_role = replica: then ALWAYS and REPLICA triggers fire. */
function checkTriggers(draft: Draft, place: Place): void {
  const mode = place.spec.triggers ?? draft.spec.defaults.triggers
  for (const trigger of place.target?.triggers ?? []) {
    const fires = mode === 'off' ? trigger.enabled === 'A' || trigger.enabled === 'R' : trigger.enabled === 'O' || trigger.enabled === 'A'
    if (!fires || mode === 'fire') continue
    warn(draft, {
      code: 'TRIGGER', where: `${place.where}.triggers`,
      message: mode === 'off' ? `${trigger.name} fires all the same (it is enabled ${trigger.enabled === 'A' ? 'ALWAYS' : 'REPLICA'})`
        : `${trigger.name} (${trigger.function}) fires when rows are written at the destination`,
      fix: mode === 'off' ? `alter table ${nameOf(place.target!)} enable trigger ${trigger.name}`
        : 'Read what it does, then say triggers: fire, or off (with checks: set in rekey.yaml); `adopt` for rows that it makes.',
    })
  }
}

function checkNotAnId(draft: Draft, place: Place): void {
  for (const column of place.spec.notAnId ?? []) {
    if (place.table.columns.some((c) => c.name === column)) continue
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where: `${place.where}.notAnId`,
      message: `${place.label} has no column ${column}`,
      fix: 'Correct the name.',
    })
  }
}

/** Every table of the source has a verdict. Partitions go with their root; temporary tables and views are not replicated. */
export function checkVerdicts(draft: Draft): void {
  for (const table of draft.source.tables) {
    const captured = (table.kind === 'r' || table.kind === 'p') && table.persistence === 'p' && table.parent === null
    if (!captured || draft.places.has(nameOf(table))) continue
    fail(draft, {
      code: 'TABLE_UNDECIDED', where: nameOf(table),
      message: `${nameOf(table)} is in the source, and the mapping does not say what becomes of it`,
      fix: 'List it in a context, or give it verdict: skip with a reason.',
    })
  }
}

/** Contexts are applied one after the other: a child before its parent waits, and its context's gate cannot be green. */
export function checkOrder(draft: Draft): void {
  const rank = new Map(draft.spec.contexts.map((context, i) => [context.name, i]))
  for (const place of draft.places.values()) {
    if (place.verdict === 'skip') continue
    for (const fk of place.table.foreignKeys) {
      const parent = draft.places.get(nameOf(fk.target))
      if (parent === undefined || parent.verdict === 'skip' || rank.get(parent.context)! <= rank.get(place.context)!) continue
      const edge = fk.columns.map((c) => `${place.label}.${c}`).join(', ')
      warn(draft, {
        code: 'CONTEXT_ORDER', where: place.where,
        message: `${place.label} (${place.context}) points at ${parent.label} (${parent.context}), which comes later: ${edge}`,
        fix: 'Move a table, or the context; else these rows wait for the later context.',
      })
    }
  }
}

/** Cycles among the foreign keys that must hold at the destination. */
export function checkCycles(draft: Draft): void {
  const targets = [...draft.places.values()].flatMap((p) => (p.target !== null && p.verdict !== 'skip' ? [p.target] : []))
  for (const cycle of orderTables(targets).cycles) {
    warn(draft, {
      code: 'CYCLE', where: cycle.join(', '), message: 'these tables point at each other at the destination',
      fix: 'Make one of the keys DEFERRABLE or one of the columns nullable: it is then filled in a second step.',
    })
  }
}
