import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { stringify } from 'yaml'
import { newBucket } from '../../test/support/buckets.ts'
import { needed } from '../../test/support/services/commands.ts'
import type { S3 } from '../../test/support/services/s3.ts'
import { CLI, PROFILES } from '../rekey.ts'
import { copyDatabase, dropDatabase, execute, rowsOf, within } from '../sql.ts'
import type { ContenderName, Options } from './options.ts'
import type { ObjectSet, SetName } from './seed.ts'
import type { Place } from './servers.ts'
import { watch, type Measured } from './watch.ts'

export interface Contender {
  readonly name: ContenderName
  readonly sets: readonly SetName[]
  /** Once for a set, not measured. */
  prepare(set: ObjectSet): Promise<void>
  /** Copies the set into a new bucket of this name at the destination. */
  run(set: ObjectSet, bucket: string): Promise<Measured>
}

/**
 * Keys as they are, compared by checksum. What was uploaded in parts has no MD5 for an ETag: rclone then sends up to 200 MiB in one piece
 * and without any checksum. `parts` has it send parts of 8 MiB, each with its MD5, which is what it does above 200 MiB.
 */
export function rclone(place: Place, { workers }: Options, parts: boolean): Contender {
  const program = needed({ program: 'rclone', title: 'rclone', remedy: 'apt-get install -y rclone' })
  const remote = (name: string, { url, region, credentials }: S3): Record<string, string> => ({
    [`RCLONE_CONFIG_${name}_TYPE`]: 's3', [`RCLONE_CONFIG_${name}_PROVIDER`]: 'Other', [`RCLONE_CONFIG_${name}_ENDPOINT`]: url,
    [`RCLONE_CONFIG_${name}_REGION`]: region, [`RCLONE_CONFIG_${name}_ACCESS_KEY_ID`]: credentials.accessKeyId,
    [`RCLONE_CONFIG_${name}_SECRET_ACCESS_KEY`]: credentials.secretAccessKey,
  })
  return {
    name: parts ? 'rclone-parts' : 'rclone', sets: parts ? ['large'] : ['small', 'large'],
    prepare: () => Promise.resolve(),
    async run(set, bucket) {
      await newBucket(place.destination, bucket)
      const many = String(workers)
      const cut = parts ? ['--s3-upload-cutoff', '0', '--s3-chunk-size', '8Mi'] : []
      const how = [...cut, '--transfers', many, '--checkers', many, '--checksum', '--config', '/dev/null', '-q']
      const env = { ...remote('FROM', place.source), ...remote('TO', place.destination), AWS_CA_BUNDLE: '' }
      return watch(place, { program, args: ['copy', `FROM:bench-${set.name}`, `TO:${bucket}`, ...how], env }, null)
    },
  }
}

const MAPPING = {
  application: 'bench', contexts: [{ name: 'all', tables: ['projects', 'files'] }], entities: { projects: { prefix: 'prj' } },
  objects: { main: { keys: ['{projects}/{rest*}'] } },
  tables: { files: { columns: { path: { object: 'main' } }, objects: [{ store: 'main', key: 'path', size: 'size' }] } },
}

const storeOf = ({ url, region, credentials: { accessKeyId, secretAccessKey } }: S3, bucket: string) =>
  ({ main: { s3: { bucket, endpoint: url, region, credentials: { accessKeyId, secretAccessKey } } } })

/**
 * rekey's workers, as their users run them: jobs from the table, keys rewritten, each copy proven and recorded. The rows were carried
 * before, by a run that knew no stores and so left the jobs.
 */
export function rekey(place: Place, { workers, verify, profile, threads }: Options): Contender {
  if (!existsSync(CLI)) throw new Error(`${CLI} is missing: run \`npm run build\``)
  const { source, destination } = place.databases
  const config = async (set: ObjectSet, database: string, objects: object): Promise<string> => {
    const folder = path.join(place.folder, database)
    await mkdir(path.join(folder, 'mapping'), { recursive: true })
    await writeFile(path.join(folder, 'mapping/mapping.yaml'), stringify(MAPPING))
    const file = path.join(folder, 'rekey.yaml')
    await writeFile(file, stringify({
      pipeline: `bench_${set.name}`, deployment: 'bench', secret: 'not a secret: for the benchmark', mapping: 'mapping',
      source: { url: source.url(`bench_${set.name}`) }, destination: { url: destination.url(database) }, ...objects,
    }))
    return file
  }
  const count = async (database: string, where: string): Promise<number> => {
    const [row] = await execute(destination.url(database), [`select count(*)::text as n from rekey.object where ${where}`])
    return Number(row['n'])
  }
  const command = (...args: string[]) => ({ program: process.execPath, args: [CLI, 'run', '--json', ...args], env: {} })
  const flags = profile ? ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`] : []
  return {
    name: 'rekey', sets: ['small', 'large'],
    async prepare(set) {
      const database = `bench_${set.name}`
      const file = await config(set, database, {})
      const written = async (): Promise<boolean> => (await count(database, 'true').catch(() => 0)) === set.objects
      await watch(place, command('--config', file), written)
      await execute(destination.url(database), ['vacuum analyze'])
    },
    async run(set, bucket) {
      await newBucket(place.destination, bucket)
      const database = bucket.replaceAll('-', '_')
      await copyDatabase(destination, `bench_${set.name}`, database)
      const [from, to] = [storeOf(place.source, `bench-${set.name}`), storeOf(place.destination, bucket)]
      const file = await config(set, database, { objects: { source: from, destination: to, workers, verify, ...(threads === null ? {} : { threads }) } })
      const { program, args, env } = command('--config', file, '--role', 'mirror')
      // By the index, in one session: asking must not cost what is measured.
      const measured = await within(destination.url(database), (session) => watch(place, { program, args: [...flags, ...args], env }, async () => {
        const [{ open }] = await rowsOf(session, "select exists (select from rekey.object where state in ('wanted', 'copying', 'copied'))::text as open")
        return open === 'false'
      }))
      const verified = await count(database, "state = 'verified'")
      if (verified !== set.objects) throw new Error(`rekey has verified ${verified} objects of ${set.objects}`)
      await dropDatabase(destination, database)
      return measured
    },
  }
}
