import { jobTotals, JOB_STATES, type JobState, type JobTotals } from '../core/objects/job.ts'
import { merkleTree } from '../mirror/manifest.ts'
import type { ObjectState, StoredJob } from '../pipeline/operate.ts'
import type { FoundProblem } from '../mirror/verify-objects.ts'
import { objectsText } from './progress.ts'
import { counted, formatBytes, formatCount, renderTable } from './text.ts'

/** What `rekey objects list --json` prints. */
export interface ObjectList {
  readonly totals: JobTotals
  /** How many there are of what was asked for; `jobs` holds at most `--limit` of them, oldest first. */
  readonly total: number
  readonly jobs: readonly StoredJob[]
}

interface Listed {
  /** None: all. */
  readonly states: readonly JobState[]
  readonly limit: number
}

export async function listObjects(state: ObjectState, { states, limit }: Listed): Promise<ObjectList> {
  const totals = jobTotals(await state.counts())
  return { totals, ...(await state.list({ states: states.length > 0 ? states : null, limit })) }
}

export function isJobState(text: string): text is JobState {
  return (JOB_STATES as readonly string[]).includes(text)
}

export function renderObjects({ totals, total, jobs }: ObjectList): string {
  const lines = [objectsText({ ...totals, objectsPerSecond: 0, bytesPerSecond: 0, etaSeconds: null })]
  if (totals.leaving > 0) lines.push('Copies whose rows went are removed after their time of grace; `rekey objects approve` agrees to more than may go by themselves.')
  if (jobs.length > 0) {
    const titles = ['KIND', 'STATE', 'SIZE', 'KEY', 'NEW KEY', 'WHY'].map((title) => ({ title }))
    const cells = jobs.map((j) => [j.id, j.kind, j.state, j.size === null ? '' : formatBytes(j.size), `${j.store}/${j.key}`,
      j.newKey === null ? '' : `${j.to}/${j.newKey}`, j.error ?? ''])
    lines.push('', ...renderTable([{ title: 'ID', align: 'right' }, ...titles], cells))
  }
  if (total > jobs.length) lines.push(`and ${formatCount(total - jobs.length)} more: see --limit`)
  return `${lines.join('\n')}\n`
}

/** What `rekey objects verify --json` prints. */
export interface ObjectsVerified {
  readonly level: 1 | 2 | 3
  readonly objects: number
  readonly bytes: number
  readonly problems: readonly FoundProblem[]
}

export function renderVerified({ level, objects, bytes, problems }: ObjectsVerified): string {
  const lines = [`${counted(objects, 'object')}, ${formatBytes(bytes)}, checked at level ${level}: ${counted(problems.length, 'problem')}.`]
  if (problems.length > 0) {
    const titles = ['PROBLEM', 'KEY', 'NEW KEY'].map((title) => ({ title }))
    lines.push('', ...renderTable([{ title: 'ID', align: 'right' }, ...titles], problems.map((p) => [p.id, p.problem, p.key, p.newKey])))
    lines.push('', '`rekey objects retry <id>` has an object copied again.')
  }
  return `${lines.join('\n')}\n`
}

/** What `rekey objects manifest --json` prints, and the last line of the manifest. */
export interface Manifest {
  readonly format: 'rekey-objects/1'
  readonly objects: number
  readonly bytes: number
  /** Merkle root over the lines before this one, hex. */
  readonly root: string
}

/** Writes one JSON line for each verified object, in the order of their new keys, and the root over them. */
export async function writeManifest(state: ObjectState, write: (text: string) => void | Promise<void>): Promise<Manifest> {
  const tree = merkleTree()
  let objects = 0
  let bytes = 0
  for await (const page of state.verified()) {
    const lines = page.map(lineOf)
    for (const line of lines) tree.add(line)
    objects += page.length
    bytes += page.reduce((sum, { size }) => sum + (size ?? 0), 0)
    await write(`${lines.join('\n')}\n`)
  }
  const manifest: Manifest = { format: 'rekey-objects/1', objects, bytes, root: tree.root() }
  await write(`${JSON.stringify(manifest)}\n`)
  return manifest
}

function lineOf({ store, key, to, newKey, size, source, destination, algorithm, checksum, evidence, lost, changedAt }: StoredJob): string {
  return JSON.stringify({ store, key, to, newKey, size, source, destination, algorithm, checksum, evidence, lost, at: changedAt })
}
