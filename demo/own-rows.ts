import type { Database, TextRow } from '../test/support/database.ts'

/** Keys of the destination's tables, in the order in which they can be read and compared. */
export const KEYS: Readonly<Record<string, readonly string[]>> = {
  products: ['id'], groups: ['id'], users: ['id'], memberships: ['user_id', 'group_id'], sessions: ['token'], wallets: ['id'],
  preferences: ['user_id', 'name'],
  workspaces: ['id'], folders: ['id'], projects: ['id'], nodes: ['id'], files: ['path'], events: ['id'],
}

/** Digest of a row, and of what a merge never changes in it. */
export interface Digest {
  readonly whole: string
  readonly kept: string
}

/** The rows that belong to the destination itself, as they must look: table and key -> digest. */
export type OwnRows = Map<string, Digest>

/** `key`, `whole` and `kept` of rows of a table. The mapping lets a merge change the phone and an empty bio of a person, nothing else. */
export function digestColumns(table: string): string {
  const kept = table === 'users' ? "(to_jsonb(t) - '{phone,bio}'::text[])" : 'to_jsonb(t)'
  return `concat_ws(E'\\t', '${table}', ${KEYS[table].join(', ')}) as key, md5(to_jsonb(t)::text) as whole, md5(${kept}::text) as kept`
}

export function remember(own: OwnRows, rows: readonly TextRow[]): void {
  for (const { key, whole, kept } of rows) own.set(key!, { whole: whole!, kept: kept! })
}

/** All rows as they are now. */
export async function readRows(destination: Database): Promise<OwnRows> {
  const own: OwnRows = new Map()
  for (const table of Object.keys(KEYS)) remember(own, await destination.query(`select ${digestColumns(table)} from ${table} t`))
  return own
}
