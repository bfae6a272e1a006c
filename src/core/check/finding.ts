import { RekeyError } from '../errors.ts'

export const GROUPS = ['connectivity', 'replication', 'access', 'schema', 'mapping', 'objects', 'capacity'] as const
export type Group = (typeof GROUPS)[number]
export type Severity = 'error' | 'warning' | 'info'

/** One thing that `rekey check` found. With an error among them a run does not begin. */
export interface Finding {
  readonly group: Group
  readonly code: string
  readonly severity: Severity
  /** What it is about: `source`, `destination`, a table, a column, a slot, a place in a file. */
  readonly subject: string
  readonly message: string
  /** What to do, with the SQL where there is some; empty when nothing needs to be done. */
  readonly fix: string
}

type Said = Omit<Finding, 'group' | 'severity'>

/** Findings of one group, being collected. */
export interface Report {
  readonly findings: Finding[]
  error(finding: Said): void
  warning(finding: Said): void
  info(finding: Said): void
}

export function reportOf(group: Group): Report {
  const findings: Finding[] = []
  const add = (severity: Severity) => (finding: Said): void => void findings.push({ group, severity, ...finding })
  return { findings, error: add('error'), warning: add('warning'), info: add('info') }
}

/** By group, in each the gravest first; otherwise in the order in which they were found. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  const severities = ['error', 'warning', 'info']
  return [...findings].sort((a, b) => GROUPS.indexOf(a.group) - GROUPS.indexOf(b.group) ||
    severities.indexOf(a.severity) - severities.indexOf(b.severity))
}

/** Throws PREFLIGHT when there is an error among them. */
export function refuseFindings(findings: readonly Finding[]): void {
  const errors = findings.filter((f) => f.severity === 'error')
  if (errors.length === 0) return
  throw new RekeyError('PREFLIGHT', errors.map((f) => `${f.code} ${f.subject}: ${f.message}`).join('\n'))
}
