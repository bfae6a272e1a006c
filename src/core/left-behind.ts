import { RekeyError } from './errors.ts'
import type { TableName } from './relation.ts'

/** A transaction in fragments took away rows that others still point at. The message names tables alone; `rows` is for whoever parks them. */
export class LeftBehind extends RekeyError {
  /** Tables of the destination, and keys as COPY text. */
  readonly rows: readonly { readonly table: TableName; readonly key: string }[]

  constructor(cause: RekeyError, rows: LeftBehind['rows']) {
    super('CONFLICT', cause.message, { cause, ...(cause.sqlstate === undefined ? {} : { sqlstate: cause.sqlstate }) })
    this.rows = rows
  }
}
