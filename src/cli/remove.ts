import { RekeyError } from '../core/errors.ts'
import type { Operated, TopicsRemoved } from '../pipeline/operate.ts'

/** What `rekey remove --json` prints. */
export interface Removed {
  readonly pipeline: string
  /** Something alive was ended (--force). */
  readonly ended: { readonly writer: boolean; readonly reader: boolean }
  readonly slot: 'dropped' | 'not there'
  readonly publication: 'dropped' | 'not there'
  readonly destination: 'schema dropped' | 'rows deleted' | 'nothing there'
  /** The copy of the ledger in Redis. */
  readonly copy: 'removed' | 'not there' | 'did not answer'
  /** Topics that this pipeline has made, those that were there before it and stay, how many groups of readers went. */
  readonly topics: TopicsRemoved
}

export interface RemoveOptions {
  /** What is alive is ended. */
  readonly force: boolean
  /** Topics and groups stay, and Kafka is not asked. */
  readonly keepTopics: boolean
}

/**
 * Removes what a pipeline has made for itself at both ends and between them; carried rows stay. Without `force`, nothing that is alive is
 * touched: RUNNING or SLOT_IN_USE, and then nothing was removed. Done again, it removes what is left.
 */
export async function removePipeline(
  { source, destination, removeCopy, removeTopics }: Pick<Operated, 'source' | 'destination' | 'removeCopy' | 'removeTopics'>, pipeline: string,
  { force, keepTopics }: RemoveOptions,
): Promise<Removed> {
  const hint = 'Stop it, or say --force to end it.'
  const writer = await destination.hold(force).catch((error: unknown) => {
    throw error instanceof RekeyError && error.code === 'RUNNING' ? new RekeyError('RUNNING', error.message, { hint }) : error
  })
  const { slot } = await source.slot()
  const reader = slot?.activePid ?? null
  if (!force && reader !== null) {
    throw new RekeyError('SLOT_IN_USE', `process ${reader} at the source reads the slot ${source.slotName}`, { hint })
  }
  const ended = { writer, reader: reader !== null }
  if (force) await source.freeSlot()
  // The slot goes first: it is what would fill the source's disk if anything after it failed.
  if (slot) await source.dropSlot()
  const published = await source.hasPublication()
  if (published) await source.dropPublication()
  // Our tables say which topics are ours, so they go later.
  const topics = keepTopics ? NONE : await removeTopics().catch((error: unknown) => {
    throw error instanceof RekeyError ? new RekeyError(error.code, `slot and publication are removed, the topics are not: ${error.message}`, { hint: WITHOUT }) : error
  })
  const left = await destination.remove()
  const copy = (await removeCopy()) ?? 'did not answer'
  return { pipeline, ended, slot: slot ? 'dropped' : 'not there', publication: published ? 'dropped' : 'not there', destination: left, copy, topics }
}

const NONE: TopicsRemoved = { removed: [], left: [], groups: 0 }
const WITHOUT = 'Remove again when Kafka answers, or say --keep-topics.'

export function renderRemoved(removed: Removed, names: { slot: string; publication: string }): string {
  const { pipeline, ended, slot, publication, destination, copy, topics } = removed
  const lines = [
    ...(ended.writer ? ['ended the rekey that was running'] : ended.reader ? ['ended the reader of the slot'] : []),
    `slot ${names.slot}: ${slot}`,
    `publication ${names.publication}: ${publication}`,
    `schema rekey at the destination: ${DESTINATION[destination]}`,
    ...topics.removed.map((topic) => `topic ${topic}: removed`),
    ...topics.left.map((topic) => `topic ${topic}: left, it was not made by this pipeline`),
    ...(topics.groups > 0 ? [`groups of readers: ${topics.groups} removed`] : []),
    ...(copy === 'removed' ? ['copy of the ledger in Redis: removed'] : []),
    ...(copy === 'did not answer' ? ['copy of the ledger: Redis did not answer. It holds keys of no use; remove again to remove them'] : []),
  ]
  const nothing = slot === 'not there' && publication === 'not there' && destination === 'nothing there' && topics.removed.length === 0
  const head = nothing ? `Nothing is left of the pipeline ${pipeline}.` : `Removed the pipeline ${pipeline}. Carried rows stay.`
  return `${[head, ...lines.map((line) => `  ${line}`)].join('\n')}\n`
}

const DESTINATION: Record<Removed['destination'], string> = {
  'schema dropped': 'dropped', 'rows deleted': 'rows of this pipeline deleted, others use it', 'nothing there': 'not there',
}
