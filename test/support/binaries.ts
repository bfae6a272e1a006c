import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, readFile, readdir, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'

export const MAJORS = [14, 15, 16, 17, 18] as const
export type Major = (typeof MAJORS)[number]

/** Resolves as the workspace test/support/servers does, wherever npm has put its packages. */
const resolver = createRequire(new URL('./servers/package.json', import.meta.url))

const PLATFORM = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`

/** The majors whose binaries are installed on this machine. Postgres 14 exists for linux-x64 only. */
export function installedMajors(): Major[] {
  return MAJORS.filter((major) => packageFolder(major) !== null)
}

/**
 * Makes a runnable copy of the binaries of a major and resolves with its folder (bin, lib, share). The files are hard links into one
 * folder per user, because the server of a root user runs as nobody, who may not be able to enter node_modules. Every step either
 * creates a whole file or finds one there, so two processes may do this at once and a half-cleaned folder is completed.
 */
export async function installBinaries(major: Major): Promise<string> {
  const from = packageFolder(major)
  if (from === null) {
    const name = `pg${major}-${PLATFORM}`
    const { optionalDependencies: known } = resolver('./package.json') as { optionalDependencies: Record<string, string> }
    if (!(name in known)) throw new Error(`There is no package with Postgres ${major} for ${PLATFORM}. Choose another major.`)
    throw new Error(`Postgres ${major} is missing: package ${name} is not installed. Run: npm install`)
  }
  const { version } = JSON.parse(await readFile(path.join(from, 'package.json'), 'utf8')) as { version: string }
  const to = path.join(await baseFolder(), `${PLATFORM}-${version}`)
  await linkTree(path.join(from, 'native'), to)
  await makeSymlinks(path.join(from, 'native'), to)
  return to
}

/** The folder for binaries and temporary data of this user, `$TMPDIR/rekey-<uid>`: others may enter it, none may write into it. */
export async function baseFolder(): Promise<string> {
  const uid = process.getuid?.()
  const folder = path.join(os.tmpdir(), `rekey-${uid ?? os.userInfo().username}`)
  await mkdir(folder, { recursive: true })
  const found = await lstat(folder)
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid)) {
    throw new Error(`${folder} belongs to somebody else. Remove it, or set TMPDIR to another folder.`)
  }
  if (uid !== undefined && (found.mode & 0o777) !== 0o755) await chmod(folder, 0o755)
  return folder
}

/** The user that runs the server: nobody when we are root, whom Postgres refuses; otherwise ourselves. */
export async function serverUser(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null
  const passwd = await readFile('/etc/passwd', 'utf8')
  const fields = passwd.split('\n').find((line) => line.startsWith('nobody:'))?.split(':')
  if (!fields) throw new Error('Postgres does not run as root, and /etc/passwd has no user nobody. Run as a normal user.')
  return { uid: Number(fields[2]), gid: Number(fields[3]) }
}

function packageFolder(major: Major): string | null {
  try {
    return path.dirname(path.dirname(resolver.resolve(`pg${major}-${PLATFORM}`)))
  } catch {
    return null
  }
}

async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  if (process.platform !== 'win32') await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = path.join(from, entry.name)
    const target = path.join(to, entry.name)
    if (entry.isDirectory()) await linkTree(source, target)
    else if (entry.isFile()) await placeFile(source, target)
  }
}

/** A file that only its owner may read (npm under umask 077) is copied: a hard link would change the mode in node_modules, too. */
async function placeFile(source: string, target: string): Promise<void> {
  if (await exists(target)) return
  const executable = path.basename(path.dirname(source)) === 'bin'
  const needed = executable ? 0o555 : 0o444
  if (process.platform === 'win32' || ((await lstat(source)).mode & needed) === needed) {
    const linked = await link(source, target).then(() => true, (e: NodeJS.ErrnoException) => e.code === 'EEXIST')
    if (linked) return
  }
  const part = `${target}.${process.pid}.${Math.random().toString(36).slice(2)}`
  try {
    await copyFile(source, part, constants.COPYFILE_FICLONE)
    await chmod(part, executable ? 0o755 : 0o644)
    await rename(part, target)
  } catch (error) {
    await rm(part, { force: true })
    if (!(await exists(target))) throw error
  }
}

/** npm packages carry no symbolic links; the list of those that the libraries need lies beside them. */
async function makeSymlinks(native: string, to: string): Promise<void> {
  const list = await readFile(path.join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const file = path.join(to, path.relative('native', target))
    if (await exists(file)) continue
    const text = path.relative(path.dirname(target), source)
    await symlink(text, file).catch((e: NodeJS.ErrnoException) => {
      if (e.code !== 'EEXIST') throw e
    })
  }
}

function exists(file: string): Promise<boolean> {
  return lstat(file).then(() => true, () => false)
}
