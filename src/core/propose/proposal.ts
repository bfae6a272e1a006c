import type { ColumnSpec, IdSpec, MappingSource, TableSpec } from '../compile/mapping-source.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** A mapping in the making: its parts change while it is made. Notes are comments by path (`tables.users.columns.name`). */
export interface Proposal {
  readonly spec: Omit<MappingSource, 'entities' | 'tables' | 'contexts'> & {
    contexts: MappingSource['contexts']
    readonly entities: Record<string, IdSpec>
    readonly tables: Record<string, Mutable<TableSpec> & { columns?: Record<string, ColumnSpec>; notAnId?: string[] }>
  }
  readonly notes: Map<string, string[]>
}

export function note(proposal: Pick<Proposal, 'notes'>, path: string, text: string): void {
  const found = proposal.notes.get(path) ?? []
  if (!found.includes(text)) proposal.notes.set(path, [...found, text])
}
