import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotHave, cannotHave } from './commands.ts'

/** Something that the tests need and that does not come with npm. */
export interface Fetch {
  /** For people: `Apache Kafka 4.3.1 from Maven Central`. */
  readonly title: string
  /** Its folder in the cache. What is there is never fetched again, so the name holds the version and what else it depends on. */
  readonly folder: string
  /** The command that would give it when fetching fails. */
  readonly remedy: string
  /** Fills an empty folder with it. */
  fill(folder: string): Promise<void>
}

const LOCK_BEAT_MS = 2_000
const LOCK_STALE_MS = 20_000

/** `$XDG_CACHE_HOME/rekey-test`, or `~/.cache/rekey-test`. */
export function cacheFolder(): string {
  return path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'rekey-test')
}

/**
 * Resolves with the folder that holds it, fetched first if it is missing, with progress on stderr. A folder comes whole or not at all: it
 * is filled beside its place and renamed. A lock file makes a second run wait rather than fetch the same again; should both fetch, one
 * rename wins.
 */
export async function fetched(what: Fetch, cache = cacheFolder()): Promise<string> {
  const place = path.join(cache, what.folder)
  if (existsSync(place)) return place
  await mkdir(cache, { recursive: true })
  const release = await locked(`${place}.lock`, () => say(`another run fetches ${what.title}; waiting for it`))
  try {
    if (!existsSync(place)) await fillBeside(what, place)
  } finally {
    await release()
  }
  return place
}

async function fillBeside(what: Fetch, place: string): Promise<void> {
  const began = Date.now()
  const seconds = () => `${Math.round((Date.now() - began) / 1_000)} s`
  say(`fetching ${what.title} into ${place}`)
  const progress = setInterval(() => say(`still fetching ${what.title} (${seconds()})`), 15_000)
  await removeParts(place)
  const part = await mkdtemp(`${place}.part-`)
  try {
    await what.fill(part).catch((cause: unknown) => {
      throw cause instanceof CannotHave ? cause : Object.assign(cannotHave(what.title, 'fetching it failed', what.remedy), { cause })
    })
    await rename(part, place).catch((error: unknown) => {
      if (!existsSync(place)) throw error
    })
  } finally {
    clearInterval(progress)
    await rm(part, { recursive: true, force: true })
  }
  say(`${what.title} is there (${seconds()})`)
}

/** What a run that was killed has left: the lock is ours, so nobody fills them any more. */
async function removeParts(place: string): Promise<void> {
  const parts = (await readdir(path.dirname(place))).filter((name) => name.startsWith(`${path.basename(place)}.part-`))
  await Promise.all(parts.map((name) => rm(path.join(path.dirname(place), name), { recursive: true, force: true })))
}

/** A lock file that its holder touches every two seconds; one that was not touched for long belongs to nobody any more. */
async function locked(file: string, waits: () => void): Promise<() => Promise<void>> {
  for (let said = false; ; said = true) {
    const held = await open(file, 'wx').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
      return null
    })
    if (held) {
      await held.close()
      const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), LOCK_BEAT_MS)
      return async () => {
        clearInterval(beat)
        await rm(file, { force: true })
      }
    }
    const touched = await stat(file).then((found) => found.mtimeMs, () => Date.now())
    if (Date.now() - touched > LOCK_STALE_MS) await rm(file, { force: true })
    else if (!said) waits()
    await sleep(250)
  }
}

export function say(line: string): void {
  process.stderr.write(`rekey tests: ${line}\n`)
}

