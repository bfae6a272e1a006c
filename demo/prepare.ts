import { check } from '../src/prepare/check.ts'
import { checkedOf, renderChecked } from '../src/cli/check.ts'
import { formatBytes, formatCount, formatSeconds, renderTable } from '../src/cli/text.ts'
import { refuseFindings } from '../src/core/check/finding.ts'
import type { PlanFile } from '../src/core/plan-file.ts'
import { operate, planRun, type Operated } from '../src/pipeline/operate.ts'
import type { Stage } from './stage.ts'
import type { View } from './view.ts'

/** What stands in the way of a run, and what a run would do. Both only read. Rejects when a run could not begin. */
export async function checkAndPlan({ config }: Stage, view: View): Promise<PlanFile['totals']> {
  return operate(config, async (operated) => {
    await tellCheck(operated, view)
    view.step('rekey plan', 'A dry run over every row: how many are new, how many are there already, how many need a person.')
    const plan = await planRun(operated, { samples: 0, onBlock: () => {} })
    for (const line of planTable(plan)) view.say(`   ${line}`)
    if (plan.objects) {
      view.say(`   Files name ${formatCount(plan.objects.objects)} objects of ${formatBytes(plan.objects.bytes)}; the longest key will have ${plan.objects.longestKey} bytes.`)
    }
    view.say(`   The copy should take about ${formatSeconds(plan.estimate.seconds)}. The numbers go on changing: people are working.`)
    return plan.totals
  })
}

async function tellCheck({ opened, source, stores }: Operated, view: View): Promise<void> {
  view.step('rekey check', 'Reads both databases and the mapping before anything is touched: is every table and every id accounted for?')
  const { config, catalogs, mapping, problems } = opened
  const findings = await check({
    source: opened.source.query, destination: opened.destination.query, catalogs, mapping, problems, slot: source.slotName,
    publication: source.publicationName, checks: config.checks, workers: config.snapshot.workers,
    stores: { rules: [...mapping.stores.values()], ...(await stores()) },
  })
  for (const line of renderChecked(checkedOf(findings)).trimEnd().split('\n')) view.say(`   ${line}`.trimEnd())
  if (findings.some(({ code }) => code === 'NOT_DURABLE')) {
    view.say('   (That warning is right: these servers are thrown away in the end, so they do not wait for the disk.)')
  }
  refuseFindings(findings)
}

function planTable({ tables, totals }: PlanFile): string[] {
  const skipped = (t: PlanFile['tables'][number]): number => Object.values(t.skipped).reduce((sum, n) => sum + n, 0)
  const cells = (of: Omit<PlanFile['totals'], 'bytes'>): string[] =>
    [of.rows, of.new, of.matched, of.skipped, of.conflict, of.orphan + of.invalid].map(formatCount)
  const titles = ['ROWS', 'NEW', 'MERGED', 'SKIPPED', 'CONFLICTS', 'INVALID']
  const columns = [{ title: 'TABLE' }, { title: 'VERDICT' }, ...titles.map((title) => ({ title, align: 'right' as const }))]
  return renderTable(columns, [...tables.map((t) => [t.table, t.verdict, ...cells({ ...t, skipped: skipped(t) })]),
    ['all', '', ...cells(totals)]])
}
