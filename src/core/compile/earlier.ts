import { columnOf, fail, type Draft, type Place } from './draft.ts'
import type { TableRule } from '../mapping.ts'

/** What the source table was like earlier in the run: columns under other names, and columns that are gone. */
export function compileFormer(draft: Draft, place: Place): TableRule['former'] {
  const former = Object.entries(place.spec.former ?? {})
  for (const [name, now] of former) {
    const where = `${place.where}.former.${name}`
    if (columnOf(place.table, name) !== undefined) {
      fail(draft, { code: 'FORMER', where, message: `${place.label} has a column ${name} at the source`, fix: 'Remove it: its verdict stands under columns.' })
    }
    if (now === null || columnOf(place.table, now) !== undefined) continue
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where, message: `${place.label} has no column ${now} at the source`, fix: 'Say what it is called now, or null.',
    })
  }
  return new Map(former)
}

/** Columns that earlier changes lack, by what the mapping says. */
export function compileAdded(draft: Draft, place: Place): TableRule['added'] {
  const added = place.spec.added ?? []
  for (const name of added) {
    if (columnOf(place.table, name) !== undefined) continue
    fail(draft, {
      code: 'UNKNOWN_COLUMN', where: `${place.where}.added`, message: `${place.label} has no column ${name} at the source`, fix: 'Correct the name.',
    })
  }
  return new Map(added.map((name) => [name, null]))
}
