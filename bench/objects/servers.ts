import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { startPostgres, type Server } from '../../test/support/postgres.ts'
import { childrenOf } from '../../test/support/processes.ts'
import { startS3, type S3 } from '../../test/support/services/s3.ts'
import { SETTINGS } from '../servers.ts'

/** Two S3 servers with their processes, two databases for rekey, and a folder. */
export interface Place {
  readonly source: S3
  readonly destination: S3
  readonly gateways: readonly number[]
  readonly databases: { readonly source: Server; readonly destination: Server }
  readonly folder: string
  close(): Promise<void>
}

export async function openPlace(): Promise<Place> {
  // The way of running services is decided here: the processes of a container could not be watched.
  process.env['REKEY_TEST_SERVICES'] = 'processes'
  const folder = await mkdtemp(path.join(os.tmpdir(), 'rekey-bench-'))
  const before = new Set(childrenOf(process.pid))
  // S3 keeps connections open, and to make one anew for each request costs both contenders more than an object of 4 KiB.
  const [source, destination] = [await startS3({ keepAlive: true }), await startS3({ keepAlive: true })]
  const gateways = childrenOf(process.pid).filter((pid) => !before.has(pid))
  if (gateways.length !== 2) throw new Error(`expected the processes of two S3 servers, found ${gateways.length}`)
  const databases = {
    source: await startPostgres({ major: 15, settings: SETTINGS }), destination: await startPostgres({ major: 15, settings: SETTINGS }),
  }
  return {
    source, destination, gateways, databases, folder,
    async close() {
      await Promise.all([source, destination, databases.source, databases.destination].map((one) => one.stop()))
      await rm(folder, { recursive: true, force: true })
    },
  }
}
