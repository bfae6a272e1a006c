import { reportOf, type Finding } from './finding.ts'
import type { Mapping } from '../mapping.ts'
import type { Problem } from '../problem.ts'
import { nameOf } from '../relation.ts'

/** A problem of the compiler, with the file and line of its key where that is known. */
export type PlacedProblem = Problem & { readonly place?: string }

interface Told {
  readonly problems: readonly PlacedProblem[]
  /** Findings of other groups. */
  readonly told: readonly Finding[]
  readonly checks: 'engine' | 'set'
}

/** What the compiler said, and what nobody has decided yet. Problems that another group tells better are left out. */
export function judgeMapping(mapping: Mapping, { problems, told, checks }: Told): Finding[] {
  const report = reportOf('mapping')
  const keyless = told.filter((f) => f.code === 'NO_KEY').map((f) => f.subject)
  for (const { code, where, message, fix, severity, place } of problems) {
    if (code === 'NO_KEY' && keyless.some((table) => message.includes(table) ||
      table.endsWith(`.${where.replace(/^tables\./, '')}`))) continue
    const subject = place === undefined ? where : `${place} ${where}`.trim()
    report[severity]({ code, subject, message, fix })
  }
  const undecided = [...mapping.tables.values()].flatMap((rule) => {
    const table = `${rule.source.schema}.${rule.source.table}`
    return [
      ...(isTodo(rule.reason) ? [{ subject: table, message: rule.reason! }] : []),
      ...rule.dropped.filter((d) => isTodo(d.reason)).map((d) => ({ subject: `${table}.${d.column}`, message: d.reason })),
    ]
  })
  for (const todo of undecided) {
    report.error({ code: 'TODO', ...todo, fix: 'Decide it in the mapping: carry it, or say why not in your own words.' })
  }
  for (const table of silenced(mapping, checks)) {
    report.error({ code: 'TRIGGERS_OFF', subject: table, message: 'triggers: off needs checks: set in rekey.yaml',
      fix: 'Say checks: set (it needs the right to set session_replication_role), or triggers: fire.' })
  }
  return report.findings
}

/** Tables whose triggers cannot be kept from firing: only with `checks: set` is that in the power of our sessions. */
export function silenced(mapping: Mapping, checks: 'engine' | 'set'): string[] {
  if (checks === 'set') return []
  return [...mapping.tables.values()].filter((rule) => rule.triggers === 'off' && rule.verdict !== 'skip').map((rule) => nameOf(rule.source))
}

function isTodo(reason: string | null): boolean {
  return reason !== null && /^todo\b/i.test(reason)
}
