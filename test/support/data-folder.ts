import { readFileSync, rmSync } from 'node:fs'
import { chown, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { baseFolder, serverUser } from './binaries.ts'
import { isAlive } from './processes.ts'

const HOST = os.hostname().replace(/[^A-Za-z0-9]/g, '')
let swept = false

/**
 * A new data folder that only the server's user may enter, named after this process: `data-<host>-<pid>-…`. The first call also
 * removes those whose process died before it could remove them.
 */
export async function temporaryFolder(): Promise<string> {
  const base = await baseFolder()
  if (!swept) {
    swept = true
    await removeStale(base)
  }
  const folder = await mkdtemp(path.join(base, `data-${HOST}-${process.pid}-`))
  await giveToServer(folder)
  return folder
}

/** A folder that the caller named: made if it is missing. Its parents must let the server's user in. */
export async function namedFolder(folder: string): Promise<string> {
  const made = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (made !== undefined) await giveToServer(folder)
  return path.resolve(folder)
}

/** A temporary folder with a copy of what a server that is stopped has in its own. */
export async function copiedFolder(from: string): Promise<string> {
  const folder = await temporaryFolder()
  await cp(from, folder, { recursive: true })
  for (const name of await readdir(folder, { recursive: true })) await giveToServer(path.join(folder, name))
  return folder
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}

/** For the exit of the process, when nothing can be awaited. */
export function removeFolderNow(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
}

/** The lines of postmaster.pid: process id first, status eighth (`ready`). Empty when there is no such file. */
export function postmasterFile(folder: string): string[] {
  try {
    return readFileSync(path.join(folder, 'postmaster.pid'), 'utf8').split('\n').map((line) => line.trim())
  } catch {
    return []
  }
}

async function giveToServer(folder: string): Promise<void> {
  const user = await serverUser()
  if (user) await chown(folder, user.uid, user.gid)
}

async function removeStale(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const owner = /^data-([A-Za-z0-9]*)-(\d+)-/.exec(name)
    if (!owner || owner[1] !== HOST || isAlive(Number(owner[2]))) continue
    const folder = path.join(base, name)
    const postmaster = Number(postmasterFile(folder)[0] ?? 0)
    if (postmaster > 0 && isAlive(postmaster)) continue
    await removeFolder(folder).catch(() => undefined)
  }
}
