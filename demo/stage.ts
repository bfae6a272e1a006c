import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { folderStore } from '../connectors/folder/store.ts'
import { readConfig, type Config } from '../src/config/config.ts'
import type { ObjectStore } from '../src/ports.ts'
import { atExit } from '../test/support/at-exit.ts'
import { installedMajors, type Major } from '../test/support/binaries.ts'
import { removeFolder, removeFolderNow, temporaryFolder } from '../test/support/data-folder.ts'
import { createDatabase, type Database } from '../test/support/database.ts'
import { startPostgres, type Server } from '../test/support/postgres.ts'

/** Two servers with an empty database each, and a configuration that joins them. */
export interface Stage {
  readonly source: Database
  readonly destination: Database
  readonly majors: { readonly source: Major; readonly destination: Major }
  readonly config: Config
  readonly configFile: string
  /** Where each application keeps its files: in folders. */
  readonly files: { readonly source: ObjectStore; readonly destination: ObjectStore }
  /** Stops the servers and removes everything. */
  close(): Promise<void>
}

/** Two different majors where there are two: nothing may depend on both sides being alike. */
export function chooseMajors(installed: readonly Major[]): Stage['majors'] {
  if (installed.length === 0) {
    throw new Error('No Postgres is installed with this project. Run: npm ci (its optional packages hold one for Linux, macOS and Windows)')
  }
  const source = installed.includes(15) ? 15 : installed[0]
  const destination = installed.includes(18) ? 18 : installed[installed.length - 1]
  return { source, destination }
}

export async function openStage(signal: AbortSignal): Promise<Stage> {
  const majors = chooseMajors(installedMajors())
  const folder = await temporaryFolder()
  const release = atExit(() => removeFolderNow(folder))
  const servers: Server[] = []
  const close = async (): Promise<void> => {
    await Promise.allSettled(servers.map((server) => server.stop()))
    await removeFolder(folder)
    release()
  }
  try {
    const started = await Promise.allSettled([majors.source, majors.destination].map((major) =>
      startPostgres({ major, settings: { max_slot_wal_keep_size: '4GB' } })))
    servers.push(...started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])))
    for (const one of started) if (one.status === 'rejected') throw one.reason
    signal.throwIfAborted()
    const [source, destination] = await Promise.all([createDatabase(servers[0], 'source'), createDatabase(servers[1], 'destination')])
    const configFile = join(folder, 'rekey.yaml')
    const [here, there] = [join(folder, 'source-files'), join(folder, 'destination-files')]
    await writeFile(configFile, configText({ url: source.url, files: here }, { url: destination.url, files: there }), { mode: 0o600 })
    const files = { source: folderStore(here), destination: folderStore(there) }
    return { source, destination, majors, configFile, files, config: await readConfig(configFile, {}), close }
  } catch (error) {
    await close()
    throw error
  }
}

const MAPPING = fileURLToPath(new URL('../mappings/demo', import.meta.url))

interface Side { readonly url: string; readonly files: string }

/** JSON texts are YAML texts, too. */
function configText(source: Side, destination: Side): string {
  return `pipeline: demo
deployment: demo
secret: everybody-knows-this-one
source: { url: ${JSON.stringify(source.url)} }
destination: { url: ${JSON.stringify(destination.url)} }
objects:
  source: { main: { folder: ${JSON.stringify(source.files)} } }
  destination: { main: { folder: ${JSON.stringify(destination.files)} } }
  deletes: { grace: 1s, max: 100000 }
mapping: ${JSON.stringify(MAPPING)}
retain: 0s
heartbeat: 1s
`
}
