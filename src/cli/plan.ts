import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCsv } from '../core/conflicts-csv.ts'
import { ERRORS, RekeyError } from '../core/errors.ts'
import type { ObjectsPlan, PlanFile } from '../core/plan-file.ts'
import { writePlan } from '../prepare/dryrun.ts'
import { planRun } from '../pipeline/operate.ts'
import { openScreen } from './screen.ts'
import type { Session } from './session.ts'
import { counted, formatBytes, formatCount, formatSeconds, plain, renderTable } from './text.ts'

export interface PlanVerbOptions {
  readonly out: string
  readonly samples: number
  readonly force?: boolean
}

/** What `rekey plan --json` prints: the plan, and where it was written. */
export type Plan = PlanFile & { readonly files: readonly string[] }

/** Exit code 3 while there are conflicts, so that a script does not go on to the run. */
export async function planVerb(session: Session, { out, samples, force }: PlanVerbOptions): Promise<number> {
  const { world, json } = session
  const files = [join(out, 'plan.json'), join(out, 'conflicts.csv')]
  if (!force) await refuseEdited(files[1])
  const config = await session.config()
  const screen = openScreen((text) => void world.stderr.write(text), () => world.stderr.columns ?? 80)
  const shows = !json && world.stderr.isTTY === true
  let seen = { table: '', rows: 0, at: 0 }
  const onBlock = (table: string, rows: number): void => {
    seen = { table, rows: rows + (seen.table === table ? seen.rows : 0), at: seen.at }
    if (!shows || performance.now() - seen.at < 250) return
    seen.at = performance.now()
    screen.draw([`planning ${seen.table}: ${counted(seen.rows, 'row')}`])
  }
  const plan = await world.operate(config, (operated) => planRun(operated, { samples, onBlock })).finally(() => screen.end())
  await mkdir(out, { recursive: true })
  await writePlan(out, plan)
  session.answer({ ...plan, files } satisfies Plan, renderPlan(plan, files))
  return plan.conflicts.length > 0 ? ERRORS.UNDECIDED.exit : 0
}

/** A person's decisions are not overwritten. */
async function refuseEdited(file: string): Promise<void> {
  if (!existsSync(file)) return
  const [, ...records] = parseCsv(await readFile(file, 'utf8'))
  const decided = records.filter(({ cells }) => (cells[6] ?? '').trim() !== '').length
  if (decided === 0) return
  const hint = 'Name another folder with --out, or add --force.'
  throw new RekeyError('USAGE', `${file} holds ${counted(decided, 'decision')} that would be overwritten`, { hint })
}

type Numbers = Readonly<Record<(typeof NUMBERS)[number] | 'bytes', number>>
const NUMBERS = ['rows', 'new', 'adopted', 'matched', 'skipped', 'conflict', 'orphan', 'invalid'] as const

export function renderPlan(plan: PlanFile, files: readonly string[]): string {
  const lines = planTable(plan)
  const left = plan.tables.flatMap(({ table, skipped }) =>
    Object.entries(skipped).filter(([, n]) => n > 0).map(([reason, n]) => `  ${table}: ${formatCount(n)}, ${plain(reason)}`))
  if (left.length > 0) lines.push('', 'Not carried:', ...left)
  if (plan.objects) lines.push('', ...objectLines(plan.objects))
  lines.push('', `The copy takes about ${formatSeconds(plan.estimate.seconds)} (${plan.estimate.assumption.name}).`)
  lines.push(`Wrote ${files.join(' and ')}; digest ${plan.digest}.`)
  if (plan.conflicts.length > 0) {
    lines.push(`${counted(plan.conflicts.length, 'conflict')} to decide: fill the column action of ${files[1]},`)
    lines.push(`then rekey run --conflicts ${files[1]}`, ...conflictLines(plan.conflicts))
  }
  const { orphan, invalid } = plan.totals
  if (orphan + invalid > 0) lines.push(`${counted(orphan + invalid, 'row')} would be parked (orphan or invalid): plan.json has samples.`)
  return `${lines.join('\n')}\n`
}

/** How many of each kind, the most first. */
function conflictLines(conflicts: PlanFile['conflicts']): string[] {
  const kinds = new Map<string, number>()
  for (const { table, reason, recommended_action: action } of conflicts) {
    const kind = `${table}: ${plain(reason)} (${action})`
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return [...kinds].sort((a, b) => b[1] - a[1]).map(([kind, n]) => `  ${formatCount(n)} × ${kind}`)
}

function objectLines({ objects, directories, bytes, longestKey, sampled, faults }: ObjectsPlan): string[] {
  const folders = directories > 0 ? ` and ${counted(directories, 'directory', 'directories')}` : ''
  const lines = [`Rows name ${counted(objects, 'object')}${folders}, about ${formatBytes(bytes)}; the longest key will have ${counted(longestKey, 'byte')} (of 1,024).`]
  if (sampled.missing > 0) lines.push(`  ${formatCount(sampled.missing)} of ${formatCount(sampled.objects)} that were asked for are not at the source`)
  for (const [fault, { objects: n, samples }] of Object.entries(faults)) {
    if (n > 0) lines.push(`  ${fault}: ${counted(n, 'object')} would be parked, such as ${samples.slice(0, 2).map(plain).join(', ')}`)
  }
  return lines
}

function planTable({ tables, totals }: PlanFile): string[] {
  // Few mappings adopt rows.
  const shown = NUMBERS.filter((name) => name !== 'adopted' || totals.adopted > 0)
  const numbers = [...shown, 'size'].map((name) => ({ title: name.toUpperCase(), align: 'right' as const }))
  const columns = [{ title: 'TABLE' }, { title: 'VERDICT' }, ...numbers]
  const cells = (of: Numbers): string[] => [...shown.map((name) => formatCount(of[name])), formatBytes(of.bytes)]
  const rows = tables.map((t) => {
    const skipped = Object.values(t.skipped).reduce((sum, n) => sum + n, 0)
    return [t.table, t.verdict, ...cells({ ...t, skipped })]
  })
  return renderTable(columns, [...rows, ['all', '', ...cells(totals)]])
}
