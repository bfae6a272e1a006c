import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

/** Arrows point down only: cli, pipeline -> stages -> ports -> core; connectors -> ports, core. */
const root = fileURLToPath(new URL('..', import.meta.url))
const files = ['src', 'connectors'].flatMap((folder) =>
  readdirSync(join(root, folder),
    { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => join(folder, name).split(sep).join('/')))

interface Import { readonly from: string; readonly to: string }

const imports: Import[] = files.flatMap((from) => {
  const text = readFileSync(join(root, from), 'utf8')
  return [...text.matchAll(/(?:^|\s)from '([^']+)'|\bimport\('([^']+)'\)/g)].map(([, named, dynamic]) => named ?? dynamic).map((to) => ({
    from, to: to.startsWith('.') ? relative(root, resolve(root, dirname(from), to)).split(sep).join('/') : to,
  }))
})

const local = (i: Import): boolean => i.to.startsWith('src/') || i.to.startsWith('connectors/')
const outside = (allowed: RegExp, from: RegExp): string[] =>
  imports.filter((i) => from.test(i.from) && !allowed.test(i.to)).map((i) => `${i.from} -> ${i.to}`)

describe('floors', () => {
  test('every import was read', () => expect(imports.filter(local).length).toBeGreaterThan(100))

  test('the core is pure: it imports the core and nothing else', () => {
    expect(outside(/^src\/core\//, /^src\/core\//)).toEqual([])
  })

  test('the wall clock of this machine stamps and shows, and decides nothing but when a request is signed and an upload of days ago is given up', () => {
    const asking = files.filter((name) => /\bDate\.now\b|new Date\(\)/.test(readFileSync(join(root, name), 'utf8'))).sort()
    expect(asking).toEqual([
      'connectors/folder/store.ts', 'connectors/folder/uploads.ts', 'connectors/kafka/lean.ts', 'connectors/postgres-source/receive.ts', 'connectors/s3/route.ts',
      'src/metrics/run-metrics.ts', 'src/pipeline/capture.ts', 'src/pipeline/mirror.ts', 'src/pipeline/table-topics.ts', 'src/progress.ts',
    ])
  })

  test('the ports know only the core', () => expect(outside(/^src\/core\//, /^src\/ports\.ts$/)).toEqual([]))

  test('a connector imports the core, the ports and packages, never a stage or another connector', () => {
    const wrong = imports.filter((i) => i.from.startsWith('connectors/') && local(i)).filter((i) => {
      const own = i.from.split('/').slice(0, 2).join('/')
      return !/^src\/(core\/|ports\.ts$)/.test(i.to) && !i.to.startsWith(`${own}/`)
    })
    expect(wrong).toEqual([])
  })

  test('only the pipeline names connectors', () => {
    const wrong = imports.filter((i) => i.from.startsWith('src/') && i.to.startsWith('connectors/')
      && !/^src\/pipeline(\/|\.ts$)/.test(i.from))
    expect(wrong).toEqual([])
  })

  test('clients of outside systems are imported in connectors only', () => {
    const clients = /^(pg|pg-copy-streams|pg-logical-replication|kafkajs|ioredis|@aws-sdk\/.*)$/
    expect(imports.filter((i) => i.from.startsWith('src/') && clients.test(i.to))).toEqual([])
  })

  test('the library of metrics is known to the metrics only', () => {
    expect(imports.filter((i) => i.to === 'prom-client' && !i.from.startsWith('src/metrics/'))).toEqual([])
  })

  test('HTTP is spoken in the server only', () => {
    expect(imports.filter((i) => i.to.startsWith('fastify') && !i.from.startsWith('src/server/'))).toEqual([])
  })

  test('stages do not know the command line, and nothing below does', () => {
    expect(imports.filter((i) => i.to.startsWith('src/cli/') && !i.from.startsWith('src/cli/'))).toEqual([])
  })
})
