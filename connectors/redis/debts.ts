/** Removals that could not be written: nothing may be told before they are. */
export interface Debts {
  mark(entity: string, fields: readonly string[]): void
  all(entity: string): void
  /** Which they are is not known any more. */
  lose(): void
  none(): boolean
  /** Hands them over; `lost`: there were too many to remember. */
  take(): { readonly entities: ReadonlySet<string>; readonly marks: ReadonlyMap<string, ReadonlySet<string>>; readonly lost: boolean }
}

const MOST = 200_000

export function debts(): Debts {
  let entities = new Set<string>()
  let marks = new Map<string, Set<string>>()
  let size = 0
  let lost = false
  return {
    mark(entity, fields) {
      size += fields.length
      if (size > MOST) {
        lost = true
        marks.clear()
        return
      }
      const known = marks.get(entity)
      if (known) for (const field of fields) known.add(field)
      else marks.set(entity, new Set(fields))
    },
    all: (entity) => void entities.add(entity),
    lose: () => void (lost = true),
    none: () => entities.size === 0 && marks.size === 0 && !lost,
    take() {
      const taken = { entities, marks, lost }
      entities = new Set()
      marks = new Map()
      size = 0
      lost = false
      return taken
    },
  }
}

/** In parts of so many. */
export function chunksOf<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size))
}
