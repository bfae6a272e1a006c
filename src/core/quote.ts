import type { TableName } from './relation.ts'

/** A SQL identifier, always quoted. Throws on NUL, which no name can hold. */
export function quoteIdent(name: string): string {
  refuseNul(name)
  return `"${name.replaceAll('"', '""')}"`
}

/** `"schema"."table"`. */
export function quoteName(t: TableName): string {
  return `${quoteIdent(t.schema)}.${quoteIdent(t.table)}`
}

/**
 * A SQL string literal. With a backslash in the text it is an E'' literal, so it means the same whatever standard_conforming_strings is.
 */
export function quoteLiteral(text: string): string {
  refuseNul(text)
  const doubled = text.replaceAll("'", "''")
  return doubled.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`
}

function refuseNul(text: string): void {
  if (text.includes('\0')) throw new RangeError('a NUL byte cannot be part of SQL')
}
