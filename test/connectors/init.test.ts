import { readFile } from 'node:fs/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { parseConfig } from '../../src/config/config.ts'
import { parseMapping } from '../../src/config/mapping-files.ts'
import type { Catalog } from '../../src/core/catalog.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { readDdlFacts, type TextQuery } from '../../src/prepare/ddl-facts.ts'
import { ddl } from '../../src/prepare/ddl.ts'
import { init, readSeen, todosOf } from '../../src/prepare/init.ts'
import { client, createDatabase, type Database } from '../support/database.ts'
import { server } from '../support/servers.ts'

const ODD = `
  create table alembic_version (version_num text primary key);
  create table logs (line text, user_id bigint);
  create table only_here (id bigint primary key);
  create table "Weird Name" (id bigint primary key, "x y" text, only_here_id bigint references only_here);
  create schema more;
  create table more.notes (id bigint primary key, only_here_id bigint references only_here);
  create table more.alembic_version (version_num text primary key);`

const made: Database[] = []
afterAll(() => Promise.all(made.map((one) => one.drop())))

async function database(sql: string): Promise<Database> {
  const one = await createDatabase(await server(16))
  made.push(one)
  if (sql !== '') await one.query(sql)
  return one
}

async function on<T>(one: Database, work: (text: TextQuery, catalog: () => Promise<Catalog>) => Promise<T>): Promise<T> {
  const session = await client(one.url)
  const text: TextQuery = async (sql, params) =>
    (await session.query<(string | null)[]>({ text: sql, values: [...params], rowMode: 'array' })).rows
  try {
    return await work(text, () => readCatalog(async (sql, params) => (await session.query(sql, params)).rows))
  } finally {
    await session.end()
  }
}

const catalogOf = (one: Database) => on(one, (_, catalog) => catalog())
const seenOf = (one: Database) => on(one, async (text, catalog) => readSeen(text, await catalog()))

async function proposal(source: Database, destination: Database) {
  const catalogs = { source: await catalogOf(source), destination: await catalogOf(destination) }
  const files = init({ catalogs, application: 'Demo App', seen: await seenOf(destination) })
  expect(init({ catalogs, application: 'Demo App', seen: await seenOf(destination) })).toEqual(files)
  return { catalogs, files, spec: parseMapping('m', new Map([['mapping.yaml', files['mapping.yaml']]])).source }
}

describe('init', () => {
  it('gives a configuration that can be read', async () => {
    const { files } = await proposal(await database(ODD), await database(''))
    const env = { REKEY_SECRET: 'a secret of enough bytes', REKEY_SOURCE_URL: 'postgres://a@one/x',
      REKEY_DESTINATION_URL: 'postgres://a@two/x' }
    expect(parseConfig('rekey.yaml', files['rekey.yaml'], env)).toMatchObject({ pipeline: 'demo_app', deployment: 'demo-app-source' })
  })

  it('finds the mapping of a destination with text ids, as far as names tell it', async () => {
    const linked = (key: string) => `create table notes (id ${key} primary key);
      create table lines (note_id ${key} references notes, no integer, primary key (note_id, no));
      create table marks (product_id ${key === 'text' ? key : 'integer'} references products, user_id ${key} references users, primary key (product_id, user_id));`
    const source = await database(await readFile('mappings/demo/source.sql', 'utf8') + ODD + linked('bigint'))
    const destination = await database(`${await readFile('mappings/demo/destination.sql', 'utf8')} ${linked('text')}
      create table "Weird Name" (id text primary key, "x y" text, only_here_id text); create table logs (line text, user_id text);
      insert into products (id, name) values ('prd_x', 'here');
      insert into users (id, email, name, full_name) values ('usr_x', 'a@x', 'ann', 'Ann');
      insert into notes values ('nte_x'); insert into lines values ('nte_x', 1); insert into marks values ('prd_x', 'usr_x')`)
    const { catalogs, files, spec } = await proposal(source, destination)
    const { problems } = compileMapping(spec, catalogs.source, catalogs.destination)
    expect(problems.filter((p) => p.severity === 'error')).toEqual([])
    expect(spec.entities).toMatchObject({
      users: { id: 'prefixed', prefix: 'usr' }, projects: { prefix: 'prj' }, groups: { prefix: 'grp' }, 'projects.uuid': { id: 'keep' },
    })
    const prefixes = Object.values(spec.entities).flatMap((e) => e.prefix ?? [])
    expect(new Set(prefixes).size).toBe(prefixes.length)
    expect(spec.tables.products).toMatchObject({ verdict: 'merge', on: ['name'] })
    expect(spec.tables.users).toMatchObject({ verdict: 'merge', on: ['lower(email)'], rename: { name: {} },
      columns: { full_name: { constant: '' } } })
    // A line of a note that is moved cannot be there; a mark of a product and a user can.
    expect([spec.tables.lines, spec.tables.marks]).toEqual([{}, { verdict: 'merge', on: [['product_id', 'user_id']] }])
    expect(spec.tables.alembic_version).toEqual({ verdict: 'skip', reason: 'kept by the framework of each side' })
    expect(spec.tables.only_here).toMatchObject({ verdict: 'skip', reason: expect.stringContaining('todo:') })
    expect(spec.tables.logs).toMatchObject({ verdict: 'skip', reason: expect.stringContaining('replica identity full') })
    expect(spec.tables['Weird Name']!.columns).toEqual({ only_here_id: { drop: 'todo: the table that it points at is skipped' } })
    const todos = todosOf(files['mapping.yaml']).map((t) => t.text)
    expect(todos.some((t) => t.includes('does ui or settings hold ids (json)?'))).toBe(true)
    expect(todos.some((t) => t.includes('subject_id looks like an id'))).toBe(true)
  })

  it('shifts integers where the destination keeps them, and keeps them where it has none', async () => {
    const sql = await readFile('mappings/demo/source.sql', 'utf8')
    const source = await database(sql)
    const destination = await database(`${sql}; insert into users (id, email, name) values (41234567, 'a@x', 'ann')`)
    const { catalogs, files, spec } = await proposal(source, destination)
    expect(compileMapping(spec, catalogs.source, catalogs.destination).problems.filter((p) => p.severity === 'error')).toEqual([])
    expect(spec.entities).toMatchObject({ users: { id: 'offset', by: 1_000_000_000 }, projects: { id: 'keep' } })
    expect(files['mapping.yaml']).toContain('go up to 41234567')
  })

  it('plans text ids for an empty destination, and ddl makes what the mapping then fits', async () => {
    const source = await database(await readFile('mappings/demo/source.sql', 'utf8') + ODD)
    const destination = await database('')
    const { spec, catalogs } = await proposal(source, destination)
    const facts = await on(source, readDdlFacts)
    const sql = ddl({ source: { catalog: catalogs.source, facts },
      destination: { catalog: catalogs.destination, facts: await on(destination, readDdlFacts) }, spec })
    await destination.query(sql)
    const { problems } = compileMapping(spec, catalogs.source, await catalogOf(destination))
    expect(problems.filter((p) => p.severity === 'error')).toEqual([])
    expect(spec.tables.only_here).toEqual({})
    expect(spec.tables['more.notes']).toEqual({ to: 'more.notes' })
    expect((await catalogOf(destination)).tables.filter((t) => t.schema === 'more').map((t) => t.table).sort()).toEqual(['alembic_version', 'notes'])
    expect(spec.entities.only_here).toMatchObject({ prefix: 'onhr' })
  })
})
