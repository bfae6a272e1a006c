import type { ObjectRule, TableRule } from '../mapping.ts'

/** Source columns that decide which objects a table's rows name, each once. */
export function objectColumns({ objects }: Pick<TableRule, 'objects'>): string[] {
  return [...new Set(objects.flatMap((rule) => [...decidingColumns(rule), ...rule.version, ...(rule.size === null ? [] : [rule.size])]))]
}

/** Columns without which a row does not say what an object is called, or whether there is one. */
export function decidingColumns({ key, where, directory }: ObjectRule): string[] {
  return [...key.flatMap((part) => (part.kind === 'column' ? [part.column] : [])), ...[...where, ...(directory ?? [])].map((c) => c.column)]
}
