import { readFile } from 'node:fs/promises'
import { totalsTable } from '../src/cli/render-status.ts'
import { summaryOf, type Summary } from '../src/cli/run.ts'
import { objectsText } from '../src/cli/progress.ts'
import { formatCount, formatSeconds } from '../src/cli/text.ts'
import type { PlanFile } from '../src/core/plan-file.ts'
import { withDatabases } from '../src/pipeline/open.ts'
import type { Database } from '../test/support/database.ts'
import { content, target } from '../test/support/objects.ts'
import { random } from '../test/support/random.ts'
import { carry, type Carried } from './carry.ts'
import { destinationDeeds } from './destination-deeds.ts'
import { destinationRows } from './destination-rows.ts'
import { load, type Table } from './load.ts'
import type { Options } from './options.ts'
import { keepFiles } from './files.ts'
import { readRows, type OwnRows } from './own-rows.ts'
import { sizesOf, type Sizes } from './people.ts'
import { checkAndPlan } from './prepare.ts'
import { holds, prove, type Proof } from './proof.ts'
import { residentBefore, showSamples, takeSamples } from './samples.ts'
import { sourceDeeds } from './source-deeds.ts'
import { sourceRows } from './source-rows.ts'
import type { Stage } from './stage.ts'
import type { View } from './view.ts'
import { startWriter, type Writer } from './writer.ts'

/** What `--json` prints. */
export interface Result {
  readonly ok: boolean
  readonly majors: Stage['majors']
  readonly rows: { readonly source: number; readonly destination: number }
  readonly planned: PlanFile['totals']
  readonly written: { readonly source: Writer['written']; readonly destination: Writer['written'] }
  readonly seconds: { readonly copy: number; readonly stream: number; readonly catchUp: number }
  readonly lag: Carried['lag']
  readonly totals: Summary['totals']
  readonly tables: Summary['tables']
  readonly closes: boolean
  readonly equal: boolean
  readonly proof: Proof
}

/** Plays all of it on the stage; the caller closes that. */
export async function play(stage: Stage, options: Options, view: View, signal: AbortSignal): Promise<Result> {
  const sizes = sizesOf(options.scale)
  const rows = await fill(stage, options, { sizes, view, signal })
  const own = await readRows(stage.destination)
  const resident = await residentBefore(stage)
  const writers = await startWriters(stage, options, { sizes, own })
  try {
    view.step('People go on working', 'Neither side is closed for the move: users of the source and of the destination write all the time.')
    view.say('   about 150 transactions a second at the source, 25 at the destination, until the end of step 6')
    const planned = await checkAndPlan(stage, view)
    signal.throwIfAborted()
    view.step('rekey run',
      `Copies what is there, then carries every change over as it happens: here for ${formatSeconds(options.seconds)}.`)
    const carried = await carry(stage, { seconds: options.seconds, writers, view, signal })
    const written = { source: writers[0].written, destination: writers[1].written }
    return await withDatabases(stage.config, async (opened) => {
      const summary = tellTotals({ ...carried, written, view })
      await tellParked(stage, view)
      view.step('What became of some rows', 'Old ids and e-mails on the left side of the move, new ones on the right.')
      showSamples(await takeSamples(stage, opened.minters, resident), view)
      const proof = await tellProof(() => prove(stage, opened, own), view)
      const closes = Object.values(summary.tables).every((t) => t.closes) && summary.totals.closes
      const { copySeconds: copy, streamSeconds: stream, catchUpSeconds: catchUp, lag } = carried
      return {
        ok: closes && holds(proof) && summary.totals.parked === 0, majors: stage.majors, rows, written, seconds: { copy, stream, catchUp },
        lag,
        planned, totals: summary.totals, tables: summary.tables, closes, equal: holds(proof), proof,
      }
    })
  } finally {
    await Promise.allSettled(writers.map((writer) => writer.stop()))
  }
}

interface Filling { readonly sizes: Sizes; readonly view: View; readonly signal: AbortSignal }

async function fill({ source, destination, files }: Stage, { seed }: Options, { sizes, view, signal }: Filling): Promise<Result['rows']> {
  view.step('A live application on each side',
    'The source counts its keys (17, 18, …). The destination has texts as keys (usr_…), and rows of its own.')
  const one = async (database: Database, schema: string, tables: Table[]): Promise<number> => {
    await database.query(await readFile(new URL(`../mappings/demo/${schema}.sql`, import.meta.url), 'utf8'))
    return load(database, tables, signal)
  }
  const chance = random({ seed, quiet: true })
  const both = await Promise.allSettled([
    one(source, 'source', sourceRows(chance, sizes)), one(destination, 'destination',
      destinationRows(random({ seed: seed + 1, quiet: true }), sizes)),
  ])
  const [at, there] = both.map((side) => {
    if (side.status === 'rejected') throw side.reason
    return side.value
  })
  const uploaded = await source.query('select path, size, etag from files where etag is not null')
  await keepFiles(files.source, uploaded)
  await files.destination.put(target('own/readme.txt'), content(Buffer.from('here before')))
  view.say(`   source       ${formatCount(at).padStart(7)} rows: people, teams, projects with JSON, nodes, files, nested folders, events`)
  view.say(`   destination  ${formatCount(there).padStart(7)} rows: among them people and products that the source has, too`)
  view.say(`   and ${formatCount(uploaded.length)} of the source's files are uploaded: objects in its store`)
  return { source: at, destination: there }
}

async function startWriters(stage: Stage, { seed }: Options,
  { sizes, own }: { readonly sizes: Sizes; readonly own: OwnRows }): Promise<Writer[]> {
  const chance = (more: number) => random({ seed: seed + more, quiet: true })
  return [
    await startWriter({ url: stage.source.url, random: chance(2), perSecond: 150, deeds: sourceDeeds(sizes), files: stage.files.source }),
    await startWriter({ url: stage.destination.url, random: chance(3), perSecond: 25, deeds: destinationDeeds(own) }),
  ]
}

type Told = Carried & { readonly written: Result['written']; readonly view: View }

function tellTotals({ checkpoint, objects, copySeconds, streamSeconds, catchUpSeconds, lag, written, view }: Told): Summary {
  const summary = summaryOf('demo', checkpoint, { role: 'all', objects })
  const [most, usual] = [lag.most, lag.median].map(formatSeconds)
  const [here, there] = [written.source.transactions, written.destination.transactions].map(formatCount)
  view.say(`   copied in ${formatSeconds(copySeconds)}, streamed for ${formatSeconds(streamSeconds)}; lag ${usual} (at most ${most} once the copy was caught up with)`)
  view.say(`   meanwhile ${here} transactions at the source and ${there} at the destination`)
  view.say(`   writers stopped; the last change had arrived ${formatSeconds(catchUpSeconds)} later`)
  view.say()
  for (const line of totalsTable(summary.tables, summary.totals)) view.say(`   ${line}`)
  if (objects) view.say(`   ${objectsText(objects)}`)
  view.verdict(Object.values(summary.tables).every((t) => t.closes),
    'totals close: read = inserted + updated + merged + deleted + skipped + parked, in each table')
  return summary
}

/** Rows that wait for a person: none, in this demo. */
async function tellParked({ destination }: Stage, view: View): Promise<void> {
  const rows = await destination.query(`select tbl, op, sqlstate, reason, count(*)::text as n from rekey.parked where state <> 'done'
    group by 1, 2, 3, 4 order by 1, 2, 3, 4`)
  view.verdict(rows.length === 0, `${rows.length === 0 ? 'no row is' : 'rows are'} parked`)
  for (const { tbl, op, sqlstate, reason, n } of rows) view.say(`       ${tbl}: ${n} x ${op} ${sqlstate} ${reason}`)
}

async function tellProof(work: () => Promise<Proof>, view: View): Promise<Proof> {
  view.step('The proof', 'Both sides are quiet now. Each row is worked out again from the source, one by one, and compared.')
  const proof = await work()
  view.verdict(proof.compared > 0 && proof.differences.length === 0,
    `${formatCount(proof.compared)} rows of the source: ${formatCount(proof.differences.length)} differ at the destination`)
  for (const { table, what, key, detail } of proof.differences.slice(0, 10)) view.say(`       ${table} ${key}: ${what} ${detail}`)
  view.verdict(proof.wrongPeople.length === 0,
    `${formatCount(proof.mergedPeople)} people known to both sides: each merged with the one who has the same e-mail`)
  view.verdict(proof.touched.length === 0,
    `${formatCount(proof.own)} rows of the destination's own: ${formatCount(proof.touched.length)} touched beyond what the mapping allows`)
  for (const key of proof.touched.slice(0, 10)) view.say(`       ${key.replaceAll('\t', ' ')}`)
  view.verdict(proof.objects.compared > 0 && proof.objects.different.length === 0,
    `${formatCount(proof.objects.compared)} objects compared byte by byte under their new keys, and no other than the destination's own: ${formatCount(proof.objects.different.length)} differ`)
  for (const key of proof.objects.different.slice(0, 10)) view.say(`       ${key}`)
  const strays = Object.entries(proof.strays)
  const where = strays.map(([table, n]) => `; not in ${table}: ${n}`).join('')
  view.verdict(strays.length === 0, `every other row stands for exactly one row of the source${where}`)
  return proof
}
