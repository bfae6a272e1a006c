import type { Config } from '../src/config/config.ts'
import { withDatabases } from '../src/pipeline/open.ts'
import type { View } from './view.ts'

export async function checkAndPlan(config: Config, view: View): Promise<void> {
  view.step('check', 'Reads both databases and the mapping before anything is touched: is every table and every id accounted for?')
  const problems = await withDatabases(config, async (opened) => opened.problems)
  for (const p of problems) view.say(`   ${p.severity} ${p.where}: ${p.message}`)
}
