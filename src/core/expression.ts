import type { ExpressionPart } from './mapping.ts'

/**
 * The text of an expression: literals and columns of the source row, one after the other. A column that is null counts as empty text
 * (as in concat(), not as in `||`). Functions run in the order in which they are listed: lower and upper go by Unicode, whatever
 * the database's collation; trim takes away spaces at both ends, like Postgres's trim(), and no other white space.
 */
export function evaluateExpression(parts: readonly ExpressionPart[], column: (name: string) => string | null): string {
  return parts.map((part) => {
    if (part.kind === 'literal') return part.text
    return part.functions.reduce((text, name) => APPLY[name](text), column(part.column) ?? '')
  }).join('')
}

const APPLY = {
  lower: (text: string) => text.toLowerCase(),
  upper: (text: string) => text.toUpperCase(),
  trim: trimSpaces,
}

function trimSpaces(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && text[start] === ' ') start++
  while (end > start && text[end - 1] === ' ') end--
  return text.slice(start, end)
}
