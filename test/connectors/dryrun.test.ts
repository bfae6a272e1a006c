import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findDecisions, matchRows } from '../../connectors/postgres-destination/lookup.ts'
import { plannedKeys } from '../../connectors/postgres-destination/planned-keys.ts'
import { SCHEMA_SQL } from '../../connectors/postgres-destination/schema.ts'
import { copier } from '../../connectors/postgres-source/copy.ts'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { parseMapping, readMapping } from '../../src/config/mapping-files.ts'
import { tableOf, type Catalog } from '../../src/core/catalog.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { readDecisions, storeDecisions } from '../../src/prepare/conflicts.ts'
import { conflictsCsv, decisionsFromCsv } from '../../src/core/conflicts-csv.ts'
import type { Decision } from '../../src/core/plan.ts'
import type { PlanFile } from '../../src/core/plan-file.ts'
import { relationsOf } from '../../src/core/relations.ts'
import type { Row } from '../../src/core/row.ts'
import { dryRun, parsePlan, writePlan } from '../../src/prepare/dryrun.ts'
import { mintersFor } from '../../src/planning/mint.ts'
import type { IdMap } from '../../src/ports.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { server } from '../support/servers.ts'

const SOURCE = `
  insert into products (id, name) values (1, 'main'), (2, 'side');
  insert into groups (id, name, kind) values (1, 'all', 'everyone'), (2, 'team', 'team');
  insert into users (id, email, name) values (1, 'Ann@x', 'ann'), (2, 'bob@x', 'bob'), (3, 'twin@x', 'three'), (4, 'TWIN@x', 'four');
  insert into memberships (user_id, group_id) values (1, 1), (2, 2), (4, 2);
  insert into sessions values ('t', 1, now());
  insert into workspaces (id, name, owner_group_id) values (1, 'w', 2);
  insert into folders (id, name) values (3, 'fine'), (2, 'gone');
  insert into folders (id, name, parent_id) values (1, 'below', 2), (4, 'above', 3);
  update folders set created_by = 4 where id = 2;
  insert into projects (id, uuid, name, owner_id, product_id, folder_id) values
    (1, '00000000-0000-4000-8000-000000000001', 'p', 2, 1, 4), (2, '00000000-0000-4000-8000-000000000002', 'q', 1, 2, 1),
    (3, '00000000-0000-4000-8000-000000000003', 'r', 2, 1, null);
  insert into nodes (id, project_id, label) values (1, 1, 'n'), (2, 3, 'm');
  insert into files (path, project_id, node_id, owner_id, size) values ('1/1/a.csv', 1, 1, 2, 1), ('not a path', 1, 1, 2, 1);
  analyze`
const DESTINATION = `
  insert into products (id, name) values ('prd_main', 'main');
  insert into groups (id, name, kind) values ('grp_everyone', 'all', 'everyone');
  insert into users (id, email, name, full_name) values ('usr_ann', 'ann@x', 'ann', 'Ann'), ('usr_other', 'other@x', 'bob', 'Bob');
  insert into projects (id, uuid, name, owner_id, product_id) values
    ('prj_here', '00000000-0000-4000-8000-000000000003', 'other', 'usr_ann', 'prd_main');`

const noLedger: IdMap = { find: async () => new Map(), findIds: async () => [] }

describe('the dry run', () => {
  let source: Database
  let destination: Database
  let session: pg.Client
  let catalogs: { source: Catalog; destination: Catalog }
  let plan: PlanFile
  const at = (name: string) => plan.tables.find((t) => t.table === `public.${name}`)!

  async function compiled(text?: string) {
    const { source: spec } = text === undefined ? await readMapping('mappings/demo') : parseMapping('m', new Map([['mapping.yaml', text]]))
    const { mapping } = compileMapping(spec, catalogs.source, catalogs.destination)
    return { mapping, minters: mintersFor(mapping, { deployment: 'test', secret: 'a secret of enough bytes' }, catalogs.source) }
  }

  async function run(block = 1_000, idMap = noLedger, text?: string): Promise<PlanFile> {
    const { mapping, minters } = await compiled(text)
    const relations = relationsOf(catalogs.source, mapping)
    const rows = copier({ url: source.url })
    const query = async (sql: string, params: readonly unknown[]) =>
      (await session.query<(string | null)[]>({ text: sql, values: [...params], rowMode: 'array' })).rows
    const running = dryRun({
      mapping, minters, catalogs, relations, idMap, keys: plannedKeys(query, null), read: rows.read, match: (question) =>
        matchRows(query, question, tableOf(catalogs.destination, question.table)),
      async *copy(table, columns) {
        for await (const all of rows.copy({ table, index: 0, after: null, upTo: null }, columns)) {
          for (let i = 0; i < all.length; i += block) yield all.slice(i, i + block) as Row[]
        }
      },
    })
    return running.finally(() => rows.close())
  }

  async function made(file: string, rows: string): Promise<[Database, Catalog]> {
    const database = await createDatabase(await server(16, file))
    await database.query(await readFile(`mappings/demo/${file}.sql`, 'utf8'))
    await database.query(rows)
    const one = await client(database.url)
    const catalog = await readCatalog(async (sql, params) => (await one.query(sql, params)).rows)
    await one.end()
    return [database, catalog]
  }

  beforeAll(async () => {
    const [[from, a], [to, b]] = [await made('source', SOURCE), await made('destination', DESTINATION)]
    source = from
    destination = to
    catalogs = { source: a, destination: b }
    session = await client(destination.url)
    plan = await run()
  }, 60_000)
  afterAll(async () => {
    await session.end()
    await Promise.all([source.drop(), destination.drop()])
  })

  it('accounts for every row, once', () => {
    for (const t of plan.tables) {
      const skipped = Object.values(t.skipped).reduce((sum, n) => sum + n, 0)
      expect([t.table, t.rows]).toEqual([t.table, t.new + t.matched + skipped + t.conflict + t.orphan + t.invalid])
    }
    expect(at('products')).toMatchObject({ rows: 2, new: 1, matched: 1 })
    expect(at('groups')).toMatchObject({ rows: 2, new: 1, skipped: { pinned: 1 } })
    expect(at('users')).toMatchObject({ rows: 4, new: 2, matched: 1, conflict: 1 })
    expect(at('memberships')).toMatchObject({ rows: 3, new: 2, orphan: 1 })
    expect(at('sessions')).toMatchObject({ rows: 1, skipped: { 'people log in again': 1 } })
    expect(at('folders')).toMatchObject({ rows: 4, new: 2, orphan: 2 })
    expect(at('projects')).toMatchObject({ rows: 3, new: 1, orphan: 1, conflict: 1 })
    expect(at('nodes')).toMatchObject({ rows: 2, new: 1, orphan: 1 })
    expect(at('files')).toMatchObject({ rows: 2, new: 1, invalid: 1 })
  })

  it('samples keys and nothing else, and plans parents first', () => {
    expect(at('users').samples).toEqual({ new: ['2', '3'], adopted: [], matched: ['1 = usr_ann'], conflict: ['4'], orphan: [], invalid: [] })
    const order = plan.tables.map((t) => t.table)
    expect(order.indexOf('public.users')).toBeLessThan(order.indexOf('public.projects'))
    expect(JSON.stringify(plan)).not.toMatch(/twin@x/i)
  })

  it('says the same whatever the size of the blocks, and writes nothing', async () => {
    expect(await run(1)).toEqual(plan)
    expect(await run(2)).toEqual(plan)
    expect(await destination.query("select count(*) as n from users")).toEqual([{ n: '2' }])
    expect(await destination.query("select 1 from pg_namespace where nspname = 'rekey'")).toEqual([])
  })

  it('lists each conflict with what to look at', () => {
    expect(plan.conflicts).toMatchObject([
      { table: 'public.users', source_key: '4', reason: 'two source rows have one natural key', evidence: 'source key 3',
        recommended_action: 'merge' },
      { table: 'public.projects', source_key: '3', target_key: 'prj_here', evidence: 'uuid: prj_here', recommended_action: 'map' },
    ])
  })

  it('knows parents that a filter keeps back, that were never there, and rows without a key', async () => {
    const files = await readFile('mappings/demo/mapping.yaml', 'utf8')
    const tables = files.slice(files.indexOf('  - name: platform'), files.indexOf('defaults:')).replace('events]', 'events, loose]')
    const text = files.replace(files.slice(files.indexOf('  - name: platform'), files.indexOf('defaults:')), tables)
      .replace('  nodes:\n    columns:', '  nodes:\n    where: { label: n }\n    columns:')
    const before = catalogs
    await source.query(`create table loose (node_id bigint, note text); alter table loose replica identity full;
      insert into loose values (1, 'secret'), (1, 'secret'), (2, 'secret'), (99, 'secret'), (null, 'secret');
      insert into nodes (id, project_id, label) values (3, 1, 'filtered'); insert into loose values (3, 'secret')`)
    await destination.query('create table loose (node_id text references nodes, note text)')
    const read = async (database: Database): Promise<Catalog> => {
      const one = await client(database.url)
      return readCatalog(async (sql, params) => (await one.query(sql, params)).rows).finally(() => one.end())
    }
    catalogs = { source: await read(source), destination: await read(destination) }
    try {
      for (const block of [1, 1_000]) {
        const found = await run(block, noLedger, text)
        expect(found.tables.find((t) => t.table === 'public.nodes')).toMatchObject({ rows: 3, new: 1, skipped: { filtered: 2 } })
        expect(found.tables.find((t) => t.table === 'public.loose')).toMatchObject({ rows: 6, new: 3, orphan: 3,
          samples: { new: [], orphan: [] } })
        expect(JSON.stringify(found)).not.toContain('secret')
      }
    } finally {
      catalogs = before
      await source.query('drop table loose; delete from nodes where id = 3')
      await destination.query('drop table loose')
    }
  })

  it('is written to two files, and read back only as it was', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plan-'))
    try {
      await writePlan(folder, plan)
      const text = await readFile(join(folder, 'plan.json'), 'utf8')
      expect(parsePlan(text)).toEqual(plan)
      expect(() => parsePlan(text.replace('"rows": 4', '"rows": 5'))).toThrow(expect.objectContaining({ code: 'CONFIG' }))
      expect((await readFile(join(folder, 'conflicts.csv'), 'utf8')).split('\r\n')).toHaveLength(plan.conflicts.length + 2)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('follows decisions that are in the ledger', async () => {
    const { mapping, minters } = await compiled()
    const csv = (action: string) => `table,source_key,target_key,reason,evidence,recommended_action,action\n` +
      plan.conflicts.filter((c) => c.table === 'public.users')
        .map((c) => [c.table, c.source_key, c.target_key, c.reason, c.evidence, c.recommended_action, action].join(',')).join('\n')
    const conflicts = plan.conflicts.filter((c) => c.table === 'public.users')
    const ledger = (decisions: readonly Decision[]): IdMap => ({
      find: async (entity, keys) => new Map(decisions.filter((d) => d.entity === entity && keys.includes(d.key)).map((d) => [d.key, d])),
      findIds: async (ids) => decisions.filter((d) => ids.includes(d.id)),
    })
    const merged = await run(1_000, ledger(decisionsFromCsv(csv('merge'), { conflicts, mapping, minters })))
    expect(merged.tables.find((t) => t.table === 'public.users')).toMatchObject({ new: 2, matched: 2, conflict: 0 })
    expect(merged.totals.orphan).toBe(1)
    expect(merged.digest).not.toBe(plan.digest)
    const dropped = await run(1_000, ledger(decisionsFromCsv(csv('drop'), { conflicts, mapping, minters })))
    expect(dropped.tables.find((t) => t.table === 'public.users')).toMatchObject({ new: 2, matched: 1, skipped: { 'decided: drop': 1 } })
    expect(dropped.totals.orphan).toBe(plan.totals.orphan)
  })
  it('stores decisions once, and never against the ledger', async () => {
    const text = async (sql: string, params: readonly unknown[]) =>
      (await session.query<(string | null)[]>({ text: sql, values: [...params], rowMode: 'array' })).rows
    await destination.query(SCHEMA_SQL)
    const { mapping, minters } = await compiled()
    const csv = conflictsCsv(plan.conflicts)
    const files = { plan: JSON.stringify(plan), mapping, minters }
    expect(() => readDecisions({ ...files, csv })).toThrow(expect.objectContaining({ code: 'UNDECIDED' }))
    expect(() => readDecisions({ ...files, csv,
      mapping: { ...mapping, digest: 'other' } })).toThrow(expect.objectContaining({ code: 'CONFIG' }))
    const only = plan.conflicts.slice(0, 1)
    const decided = decisionsFromCsv(conflictsCsv(only).replace(/merge,\r/, 'merge,merge\r'), { conflicts: only, mapping, minters })
    await storeDecisions(text, 'p', decided)
    await storeDecisions(text, 'p', decided)
    expect(await findDecisions(text, 'p', 'users', ['4'])).toEqual(new Map([['4', decided[0]]]))
    await expect(storeDecisions(text, 'p', [{ ...decided[0], id: 'usr_else' }])).rejects.toMatchObject({ code: 'CONFIG',
      message: expect.stringContaining('users 4') })
    expect(await findDecisions(text, 'p', 'users', ['4'])).toEqual(new Map([['4', decided[0]]]))
    await destination.query('drop schema rekey cascade')
  })
})
