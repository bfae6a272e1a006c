import { RekeyError } from '../core/errors.ts'
import type { Decision } from '../core/plan.ts'
import type { IdMapEvents } from '../meter.ts'
import type { CacheUpkeep, IdCache, IdMap } from '../ports.ts'
import type { Note } from '../progress.ts'

/** The ledger in the order of entity and key. */
export type LedgerPage = (after: Place, limit: number) => Promise<readonly Decision[]>
/** An entry to go on behind; null: from the first one on. */
type Place = Pick<Decision, 'entity' | 'key'> | null

export interface KeepOptions {
  readonly cache: IdCache & CacheUpkeep
  readonly page: LedgerPage
  readonly find: IdMap['find']
  readonly events: IdMapEvents
  readonly note: (note: Note) => void
  /** How often some entries are compared, in milliseconds. */
  readonly everyMs: number
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>
}

/** Entries at once: what is read, compared and written. */
const PAGE = 2_000
/** After a filling comes a rest of so many times its length before another one. */
const REST = 10
/** How soon it is noticed that a copy is lost, or answers again. */
const LOOK_MS = 500
/** How often the filling is told. */
const TOLD = 250_000

/**
 * Fills the copy of the ledger when it is empty, and else goes round the ledger, page by page, comparing. Entries of which the copy says
 * otherwise are read once more before that is believed, counted, and corrected. Until the signal aborts; a ledger or a copy that does not
 * answer is waited for.
 */
export async function keepCache(options: KeepOptions, signal: AbortSignal): Promise<void> {
  const { cache, note, everyMs, pause } = options
  let round: Place = null
  let away = false
  /** A copy that does not keep what it is given (it evicts) must not keep the ledger busy. */
  let notBefore = 0
  let nextPage = performance.now() + everyMs
  while (!signal.aborted) {
    try {
      const state = await cache.state()
      if (state === 'empty' && performance.now() >= notBefore) {
        const began = performance.now()
        await fill(options, signal)
        notBefore = performance.now() + REST * (performance.now() - began)
      }
      if (state === 'full' && performance.now() >= nextPage) {
        round = await comparePage(round, options)
        nextPage = performance.now() + everyMs
      }
      if ((state === 'away') !== away) note(away ? { level: 'info', event: 'idmap', text: 'the copy of the id map answers again' }
        : { level: 'warn', event: 'idmap', text: 'the copy of the id map does not answer: the ledger is asked' })
      away = state === 'away'
    } catch (error) {
      if (!(error instanceof RekeyError)) throw error
      note({ level: 'warn', event: 'idmap', text: `the ledger could not be compared with its copy: ${error.message}` })
    }
    await pause(Math.min(everyMs, LOOK_MS), signal)
  }
}

async function fill(options: KeepOptions, signal: AbortSignal): Promise<void> {
  const { cache, page, events, note } = options
  let entries = 0
  let at: Decision | null = null
  const tell = (text: string): void => note({ level: 'info', event: 'idmap', text })
  tell('fills the copy of the id map from the ledger')
  for (;;) {
    const some: readonly Decision[] = await page(at, PAGE)
    if (signal.aborted || (some.length > 0 && !(await settle(some, options)))) return
    entries += some.length
    if (Math.floor(entries / TOLD) > Math.floor((entries - some.length) / TOLD)) tell(`the copy of the id map has ${entries} entries`)
    if (some.length < PAGE) break
    at = some.at(-1)!
  }
  await cache.filled()
  events.refilled(entries)
  tell(`the copy of the id map is filled: ${entries} entries`)
}

/** The next page of the round; null when it is through. */
async function comparePage(after: Place, options: KeepOptions): Promise<Place> {
  const some = await options.page(after, PAGE)
  if (some.length > 0) await settle(some, options)
  return some.length < PAGE ? null : some.at(-1)!
}

/** False when the copy does not answer. */
async function settle(entries: readonly Decision[], { cache, find, events }: KeepOptions): Promise<boolean> {
  const compared = await cache.compare(entries)
  if (!compared) return false
  for (const entity of new Set(compared.differing.map((d) => d.entity))) {
    // The ledger may have moved on since the page was read.
    const fresh = await find(entity, compared.differing.filter((d) => d.entity === entity).map((d) => d.key))
    const again = await cache.compare([...fresh.values()])
    if (!again) return false
    const keys = again.differing.map((d) => d.key)
    if (keys.length === 0) continue
    events.corrected(entity, keys.length)
    const { learn } = await cache.drop(entity, keys)
    learn((await find(entity, keys)).values())
  }
  return true
}
