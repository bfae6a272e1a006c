/**
 * Something wrong or worth knowing, found before anything is touched. `where` is the path of a key in a file (`tables.users.columns.email`)
 * or the name of a table; `fix` says what to do. All problems are told at once.
 */
export interface Problem {
  readonly code: string
  readonly where: string
  readonly message: string
  readonly fix: string
  readonly severity: 'error' | 'warning'
}
