import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { folderStore } from '../../connectors/folder/store.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { bytesIn, content, target } from './objects.ts'
import { createRig, type Rig, type RigOptions, type Running } from './rig.ts'

/** A rig with a store on each side, in folders, and an application whose files are objects. */
export interface ObjectRig extends Rig {
  readonly from: ObjectStore
  readonly to: ObjectStore
  /** Where the folders of the stores are: source and destination. */
  readonly folder: string
  put(key: string, text: string): Promise<string>
  /** The text of an object at the destination, or null. */
  text(key: string): Promise<string | null>
  /** New keys and states of jobs, by old key. */
  jobs(): Promise<string[]>
  /** Resolves when no job waits for a worker, and no row for its object. */
  settled(running?: Pick<Running, 'ended'>): Promise<void>
  /** Rows whose objects are not at the destination, or not the same, by old key: what must be empty in the end. */
  wrong(): Promise<string[]>
}

const SCHEMA = (key: string) => `
  create table users (id ${key} primary key, email text not null unique);
  create table projects (id ${key} primary key, owner_id ${key} not null references users on delete cascade, name text);
  create table files (path text primary key, project_id ${key} not null references projects on delete cascade, etag text, size bigint,
    link boolean not null default false, folder boolean not null default false);
  create table notes (id ${key} primary key, path text not null references files on delete cascade, body text);`

export const MAPPING = {
  application: 'objects', contexts: [{ name: 'all', tables: ['users', 'projects', 'files', 'notes'] }],
  defaults: { truncate: 'owned' },
  entities: { users: { prefix: 'usr' }, projects: { prefix: 'prj' }, notes: { prefix: 'nte' } },
  objects: { main: { keys: ['exports/{users}/{rest*}', 'shared/{rest*}', '{projects}/{rest*}'] } },
  tables: {
    users: { verdict: 'merge', on: ['email'] },
    files: {
      columns: { path: { object: 'main' } },
      objects: [{ store: 'main', key: 'path', where: { link: false }, directory: { folder: true }, version: ['etag'],
        size: 'size' }] as object[],
    },
  } as Record<string, object>,
}

export interface ObjectRigOptions {
  readonly servers: RigOptions['servers']
  readonly mapping?: (mapping: typeof MAPPING) => object
  readonly config?: string
  readonly objects?: string
  /** Other stores than folders, and how rekey.yaml names them. */
  readonly stores?: Readonly<Record<'source' | 'destination', { readonly config: string; readonly store: ObjectStore }>>
}

export async function createObjectRig({ servers, mapping = (m) => m, config = '', objects = '',
  stores }: ObjectRigOptions): Promise<ObjectRig> {
  const folder = await mkdtemp(join(tmpdir(), 'rekey-objects-'))
  const [here, there] = [join(folder, 'source'), join(folder, 'destination')]
  const { source, destination } = stores ?? {
    source: { config: `{ folder: ${here} }`, store: folderStore(here) }, destination: { config: `{ folder: ${there}
      }`, store: folderStore(there) },
  }
  const rig = await createRig({
    servers, sourceSql: SCHEMA('bigint'), destinationSql: SCHEMA('text collate "C"'),
      mapping: JSON.stringify(mapping(structuredClone(MAPPING))),
    config: `objects: { source: { main: ${source.config} }, destination: { main: ${destination.config} }, deletes: { grace: 0s, max: 50 },
      lease: 1s ${objects} }\n${config}`,
  })
  const [from, to] = [source.store, destination.store]
  const made: ObjectRig = {
    ...rig, from, to, folder,
    put: async (key, text) => (await from.put(target(key), content(Buffer.from(text)))).etag,
    async text(key) {
      const info = await to.head({ key, version: null })
      return info && (await bytesIn(await to.read({ key, version: null, etag: null, range: null }))).toString()
    },
    jobs: async () => (await rig.destination.query("select src_key, state, error from rekey.object where kind <> 'sweep' order by src_key collate \"C\", kind"))
      .map((r) => `${r.src_key} ${r.state}${r.error === null ? '' : ` ${r.error}`}`),
    async settled(running) {
      for (const end = Date.now() + 30_000; ;) {
        const [{ open }] = await rig.destination.query(`select ((select count(*) from rekey.object where state in ('wanted', 'copying',
          'copied'))
          + (select count(*) from rekey.parked where sqlstate = 'RK004' and state in ('waiting', 'retry')))::text as open`)
        if (open === '0') return
        if (Date.now() > end) throw new Error(`not settled: ${(await made.jobs()).join(', ')}`)
        await Promise.race([...(running ? [running.ended] : []), new Promise((resolve) => setTimeout(resolve, 30))])
      }
    },
    async wrong() {
      const found: string[] = []
      for (const { src_key: key, dst_key: newKey,
        state } of await rig.destination.query("select * from rekey.object where kind = 'object' and state not in ('tombstone', 'gone')")) {
        const theirs = await from.head({ key: key!, version: null })
        const ours = newKey === null ? null : await made.text(newKey)
        const same = theirs !== null && ours === (await bytesIn(await from.read({ key: key!, version: null, etag: null,
          range: null }))).toString()
        if (!same) found.push(`${key} ${state}`)
      }
      const paths = await rig.destination.query('select path from files where not link and not folder')
      for (const { path } of paths) if ((await to.head({ key: path!, version: null })) === null) found.push(`row ${path}`)
      return found
    },
    async close() {
      await rig.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return made
}
