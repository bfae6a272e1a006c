import { randomFillSync } from 'node:crypto'
import { newBucket } from '../../test/support/buckets.ts'
import { content, target } from '../../test/support/objects.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { execute } from '../sql.ts'
import type { Place } from './servers.ts'

export type SetName = 'small' | 'large'

/** Objects of one size, in a bucket and in rows that name them; keys begin with the integer id of a project. */
export interface ObjectSet {
  readonly name: SetName
  readonly objects: number
  /** Of each. */
  readonly bytes: number
}

export const PROJECTS = 100
const PART = 8 << 20
const AT_ONCE = 64

export const keyOf = (set: ObjectSet, i: number): string => `${1 + (i % PROJECTS)}/${set.name}/${i}.bin`

/** A bucket `bench-<set>` at the source; no two objects have the same bytes. */
export async function putObjects({ source }: Place, set: ObjectSet): Promise<void> {
  const store = await newBucket(source, `bench-${set.name}`)
  if (set.bytes > PART) {
    for (let i = 0; i < set.objects; i++) await putInParts(store, keyOf(set, i), set.bytes)
    return
  }
  for (let at = 0; at < set.objects; at += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, set.objects - at) }, (_, i) => keyOf(set, at + i))
    await Promise.all(some.map((key) => store.put(target(key), content(randomFillSync(Buffer.alloc(set.bytes))))))
  }
}

/** As AWS's command line writes a large file. */
async function putInParts(store: ObjectStore, key: string, size: number): Promise<void> {
  const upload = await store.uploads.begin(target(key), 'sent')
  const parts = []
  for (let at = 0; at < size; at += PART) {
    parts.push(await upload.part(parts.length + 1, content(randomFillSync(Buffer.alloc(Math.min(PART, size - at))))))
  }
  await upload.finish(parts)
}

const TABLES = (key: string): string => `create table projects (id ${key} primary key, name text);
  create table files (path text primary key, project_id ${key} not null references projects, size bigint)`

/** A database `bench_<set>` at the source whose rows name the objects, and an empty one of that name at the destination. */
export async function putRows({ databases }: Place, set: ObjectSet): Promise<void> {
  const name = `bench_${set.name}`
  for (const server of [databases.source, databases.destination]) await execute(server.url(), [`create database ${name}`])
  await execute(databases.destination.url(name), [TABLES('text collate "C"')])
  const path = `(1 + i % ${PROJECTS}) || '/${set.name}/' || i || '.bin'`
  await execute(databases.source.url(name), [
    TABLES('bigint'), `insert into projects select i, 'p' || i from generate_series(1, ${PROJECTS}) i`,
    `insert into files select ${path}, 1 + i % ${PROJECTS}, ${set.bytes} from generate_series(0, ${set.objects - 1}) i`,
  ])
}
