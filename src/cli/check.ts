import { check, type Finding } from '../prepare/check.ts'
import { readMapping, type MappingFiles } from '../config/mapping-files.ts'
import type { PlacedProblem } from '../core/check/mapping.ts'
import { ERRORS } from '../core/errors.ts'
import type { Session } from './session.ts'
import { counted, plain } from './text.ts'

/** What `rekey check --json` prints. */
export interface Checked {
  /** False when there is an error among the findings: a run does not begin. */
  readonly ok: boolean
  readonly errors: number
  readonly warnings: number
  readonly findings: readonly Finding[]
}

export async function checkVerb(session: Session): Promise<number> {
  const config = await session.config()
  const { todos } = await readMapping(config.mapping)
  const findings = await session.world.operate(config, async ({ opened, source, redisFacts, kafkaFacts, stores }) => check({
    source: opened.source.query, destination: opened.destination.query, catalogs: opened.catalogs, mapping: opened.mapping,
    problems: [...opened.problems, ...opened.edited.map(edited), ...left(todos)], slot: source.slotName, publication: source.publicationName,
    checks: config.checks, workers: config.snapshot.workers, indexes: config.snapshot.indexes,
    ...(config.kafka ? { kafka: { brokers: config.kafka.brokers, tls: config.kafka.ssl !== false, sasl: config.kafka.sasl?.mechanism ?? null, facts: await kafkaFacts() } } : {}),
    ...(config.idMap === 'redis' ? { redis: { url: config.redis!.url, facts: await redisFacts() } } : {}),
    ...(opened.mapping.stores.size > 0 && config.objects && opened.problems.every((p) => p.code !== 'UNKNOWN_STORE')
      ? { stores: { rules: [...opened.mapping.stores.values()], ...(await stores()) } } : {}),
  }))
  const checked = checkedOf(findings)
  session.answer(checked, renderChecked(checked))
  return checked.ok ? 0 : ERRORS.PREFLIGHT.exit
}

function edited(message: string): PlacedProblem {
  return {
    severity: 'error', code: 'EDITED', where: 'mapping', message: `rows were carried by another mapping: ${message}`,
    fix: 'Take that back, in the mapping files or the tables, or `rekey remove` and begin anew.',
  }
}

/** A guess of `rekey init` that nobody has looked at compiles as well as any other: it is told until its comment is gone. */
function left(todos: MappingFiles['todos']): PlacedProblem[] {
  if (todos.length === 0) return []
  return [{
    severity: 'warning', code: 'TODO', place: todos[0].place, where: '',
    message: `${counted(todos.length, 'comment')} ${todos.length === 1 ? 'is' : 'are'} left to decide about, beginning with ${todos[0].text}`,
    fix: 'Decide each of them and remove its comment.',
  }]
}

export function checkedOf(findings: readonly Finding[]): Checked {
  const of = (severity: Finding['severity']): number => findings.filter((f) => f.severity === severity).length
  return { ok: of('error') === 0, errors: of('error'), warnings: of('warning'), findings }
}

const SIGNS: Record<Finding['severity'], string> = { error: '✗', warning: '!', info: '·' }

/** By group; each with its sign, where it is, what it is, and what to do about it. */
export function renderChecked({ ok, errors, warnings, findings }: Checked): string {
  const lines: string[] = []
  let group = ''
  for (const finding of findings) {
    if (finding.group !== group) lines.push(...(group === '' ? [] : ['']), finding.group)
    group = finding.group
    lines.push(`  ${SIGNS[finding.severity]} ${finding.code} ${plain(finding.subject)}: ${plain(finding.message)}`)
    if (finding.fix !== '') lines.push(...finding.fix.split('\n').map((line) => `      ${plain(line)}`))
  }
  const verdict = ok ? 'A run can begin' : 'A run does not begin'
  lines.push(...(group === '' ? [] : ['']), `${verdict}: ${counted(errors, 'error')}, ${counted(warnings, 'warning')}.`)
  return `${lines.join('\n')}\n`
}
