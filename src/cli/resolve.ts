import type { Resolved } from '../id-map/id-answers.ts'

export function renderResolved(resolved: Resolved): string {
  const { found, entity, old, how, kind, rule, note } = resolved
  const lines: string[] = []
  if (found) {
    lines.push(`${entity} ${old} -> ${resolved.new}`)
    lines.push(how === 'ledger' ? `by the ledger: ${kind}${rule ? ` (${rule})` : ''}` : 'computed from the key')
    if (note) lines.push(note)
  } else {
    const asked = old === null ? resolved.new : `${entity} ${old}${resolved.new === null ? '' : ` (${resolved.new})`}`
    lines.push(`not found: ${asked}`, note ?? '')
  }
  return `${lines.filter((line) => line !== '').join('\n')}\n`
}
