import { openSession } from '../../connectors/postgres/session.ts'
import { postgresDestination, type PostgresDestination } from '../../connectors/postgres-destination/destination.ts'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { tableOf, type Catalog } from '../../src/core/catalog.ts'
import type { Mapping } from '../../src/core/mapping.ts'
import { Lines } from '../../src/core/out.ts'
import type { Checkpoint, TableWrite, WritePlan } from '../../src/core/plan.ts'
import type { Program } from '../../src/core/program.ts'
import { emptyWrite } from '../../src/core/write.ts'
import { createDatabase, type Database } from './database.ts'
import { compile } from './mapping-literals.ts'
import type { Server } from './postgres.ts'

export type Checks = WritePlan['checks']

/** A destination database with two tables, and as many writers on it as a test opens. */
export interface Fixture {
  readonly db: Database
  make(options?: { readonly takeover?: boolean; readonly pipeline?: string; readonly join?: () => string }): PostgresDestination
  /** Inserts and deletes of both tables, parents first. A child without a parent has null. */
  writes(rows: Rows): TableWrite[]
  /** A plan that goes on from `before`: its number is its LSN. */
  plan(before: bigint, rows: Rows, more?: Partial<WritePlan>): WritePlan
  close(): Promise<void>
}

export interface Rows {
  readonly parents?: readonly (readonly [id: string, name: string | null])[]
  readonly children?: readonly (readonly [id: string, parent: string | null])[]
  readonly gone?: { readonly parents?: readonly string[]; readonly children?: readonly string[] }
}

const SQL = `
create table parents (id text primary key, name text unique);
create table children (id text primary key, parent text references parents deferrable);`

export async function destinationFixture(server: Server, checks: Checks): Promise<Fixture> {
  const db = await createDatabase(server)
  await db.query(SQL)
  const session = await openSession(db.url, 'destination')
  const catalog = await readCatalog(session.objects)
  await session.close()
  const { mapping, problems } = compile({
    source: catalog.tables, entities: { parents: { id: 'keep' }, children: { id: 'keep' } },
    more: { objects: { main: { keys: '{rest*}' } } }, tables: { parents: { objects: [{ store: 'main', key: 'id' }] } },
  })
  if (problems.some((p) => p.severity === 'error')) throw new Error(JSON.stringify(problems))
  const opened: PostgresDestination[] = []
  const writes = (rows: Rows): TableWrite[] => writesOf(rows, { mapping, catalog, checks })
  return {
    db, writes,
    make({ takeover = false, pipeline = 'main', join } = {}) {
      const made = postgresDestination({
        url: db.url, pipeline, mapping, catalog, checks, takeover, searchPath: [], lockTimeoutMs: 5_000, point: async () => {}, ...(join ? { join } : {}),
      })
      opened.push(made)
      return made
    },
    plan: (before, rows, more = {}) => planOf(before, { parts: [{ writes: writes(rows), truncate: [] }], checks, ...more }),
    async close() {
      await Promise.all(opened.map((one) => one.close()))
      await db.drop()
    },
  }
}

function planOf(before: bigint, more: Partial<WritePlan>): WritePlan {
  const after = { epoch: 1, commitLsn: before + 1n, endLsn: before + 1n, convergeLsn: 0n, phase: 'stream' as Checkpoint['phase'] }
  return {
    parts: [], decisions: [], parked: [], unparked: [], objects: [], before, after, totals: {}, chunk: null, last: true, checks: 'engine', rows: 0,
    ...more,
  }
}

interface Against {
  readonly mapping: Mapping
  readonly catalog: Catalog
  readonly checks: Checks
}

function writesOf({ parents = [], children = [], gone = {} }: Rows, against: Against): TableWrite[] {
  const up = writeOf('parents', against)
  const down = writeOf('children', against)
  for (const row of parents) up.inserts.line(row)
  for (const row of children) down.inserts.line(row)
  for (const id of gone.parents ?? []) up.deletes.line([id])
  for (const id of gone.children ?? []) down.deletes.line([id])
  const wanted = new Set(children.flatMap(([, parent]) => (parent === null ? [] : [parent])))
  if (against.checks === 'set' && wanted.size > 0) {
    const lines = new Lines()
    for (const id of wanted) lines.line([id])
    ;(down.parents as Map<string, Lines>).set(down.target.foreignKeys[0].name, lines)
  }
  return [up, down]
}

function writeOf(name: string, { mapping, catalog }: Against): TableWrite {
  const rule = mapping.tables.get(`public.${name}`)!
  return emptyWrite({ rule } as Program, tableOf(catalog, rule.target)!, 1024)
}
