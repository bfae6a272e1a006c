import { nameOf } from '../src/core/relation.ts'
import type { Opened } from '../src/pipeline/open.ts'
import { compare, type Difference } from '../test/support/oracle.ts'
import { readFiles } from './files.ts'
import type { OwnRows } from './own-rows.ts'
import { KEYS, readRows } from './own-rows.ts'
import type { Ends } from './samples.ts'
import type { Stage } from './stage.ts'

export interface Proof {
  /** Rows of the source, each worked out again by itself and compared with the destination. */
  readonly compared: number
  readonly differences: readonly Difference[]
  /** Rows of the destination itself that are as its own users left them, and keys of those that are not. */
  readonly own: number
  readonly touched: readonly string[]
  /** Uploaded files of the source, and keys of those that are not the same at the destination, or that nobody should have there: none. */
  readonly objects: { readonly compared: number; readonly different: readonly string[] }
  /** Rows that are neither carried over nor the destination's own, by table: none. */
  readonly strays: Readonly<Record<string, number>>
  readonly mergedPeople: number
  /** Old ids of people that were merged with somebody who has another e-mail: none. */
  readonly wrongPeople: readonly string[]
}

export function holds(proof: Proof): boolean {
  return proof.compared > 0 && proof.differences.length === 0 && proof.touched.length === 0 && Object.keys(proof.strays).length === 0 &&
    proof.wrongPeople.length === 0 && proof.objects.compared > 0 && proof.objects.different.length === 0
}

/** Both sides must be quiet: writers stopped, the stream caught up. */
export async function prove(ends: Pick<Stage, 'source' | 'destination' | 'files'>, opened: Opened, own: OwnRows): Promise<Proof> {
  const { config, mapping, minters, catalogs } = opened
  const differences = await compare({
    sourceUrl: ends.source.url, destinationUrl: ends.destination.url, mapping, minters, source: catalogs.source,
    destination: catalogs.destination, pipeline: config.pipeline,
  })
  const ledger = await ends.destination.query(
    `select entity, old, new, kind from rekey.id_map where pipeline = $1 and kind in ('merged', 'pinned')`, [config.pipeline])
  const people = ledger.filter(({ entity, kind }) => entity === 'users' && kind === 'merged').map(({ old, new: id }) =>
    ({ old: old!, id: id! }))
  const now = await readRows(ends.destination)
  const merged = new Set(people.map(({ id }) => `users\t${id}`))
  const touched = [...own].filter(([key, digest]) => {
    const found = now.get(key)
    return merged.has(key) ? found?.kept !== digest.kept : found?.whole !== digest.whole
  }).map(([key]) => key)
  return {
    ...(await countStrays(ends, opened, { own, now, ledger: new Set(ledger.map(({ entity, old }) => `${entity}\n${old}`)) })),
    objects: await compareObjects(ends, opened),
    differences, own: own.size, touched, mergedPeople: people.length, wrongPeople: await wrongPeople(ends, people),
  }
}

interface Rows { readonly own: OwnRows; readonly now: OwnRows; readonly ledger: ReadonlySet<string> }

/** Each row of the destination is one of its own, or stands for exactly one row of the source. */
async function countStrays({ source }: Ends, { mapping }: Opened, { own, now, ledger }: Rows): Promise<Pick<Proof, 'compared' | 'strays'>> {
  const strays: Record<string, number> = {}
  let compared = 0
  for (const table of Object.keys(KEYS)) {
    const here = [...now.keys()].filter((key) => key.startsWith(`${table}\t`) && !own.has(key)).length
    const rule = [...mapping.tables.values()].find((one) => one.target.table === table)
    const carried = rule?.verdict === 'move' || rule?.verdict === 'merge'
    const keys = carried ? await source.query(`select concat_ws(E'\\t', ${rule.key.join(', ')}) as key from ${rule.source.table}`) : []
    const expected = keys.filter(({ key }) => !ledger.has(`${rule!.entity ?? nameOf(rule!.source)}\n${key}`)).length
    compared += keys.length
    if (here !== expected) strays[table] = here - expected
  }
  return { compared, strays }
}

interface Merged {
  readonly old: string
  readonly id: string
}

async function wrongPeople({ source, destination }: Ends, people: readonly Merged[]): Promise<string[]> {
  const theirs = new Map((await destination.query('select id, lower(email) as email from users')).map(({ id, email }) => [id, email]))
  const ours = new Map((await source.query('select id, lower(email) as email from users')).map(({ id, email }) => [id, email]))
  return people.filter(({ old, id }) => !theirs.has(id) || (ours.has(old) && ours.get(old) !== theirs.get(id))).map(({ old }) => old)
}

/** Keys are put together from the rows' own ids here, not by what the run made of them. */
async function compareObjects({ source, files }: Pick<Stage, 'source' | 'files'>, { minters }: Opened): Promise<Proof['objects']> {
  const rows = await source.query('select path from files where etag is not null')
  const here = await readFiles(files.source)
  const there = await readFiles(files.destination)
  const different: string[] = []
  there.delete('own/readme.txt')
  for (const { path } of rows) {
    const [project, node, ...rest] = path!.split('/')
    const key = [minters.get('projects')!.mint(project), minters.get('nodes')!.mint(node), ...rest].join('/')
    if (there.get(key) !== here.get(path!)) different.push(path!)
    there.delete(key)
  }
  return { compared: rows.length, different: [...different, ...there.keys()] }
}
