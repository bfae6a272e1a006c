import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { readMapping } from '../../src/config/mapping-files.ts'
import { tableOf, type Catalog } from '../../src/core/catalog.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { startPostgres, type Server } from '../support/postgres.ts'

const SCHEMA = `
  create schema a; create schema rekey; create table rekey.ours(x int);
  create type a.mood as enum ('sad', 'ok', 'glad');
  create table a.users(id bigint generated always as identity primary key, email text not null collate "C", name varchar(40) unique,
    mood a.mood default 'ok', shout text generated always as (upper(name)) stored, gone int, tags int[]);
  alter table a.users drop column gone;
  create unique index users_email on a.users (lower(email));
  create unique index users_part on a.users (name) where id > 3;
  create table a.kids(a int, b int not null, user_id bigint references a.users on delete cascade deferrable,
    unique (b) include (a), primary key (a) deferrable, constraint positive check (a > 0));
  create table a.whole(x int primary key, y int); alter table a.whole replica identity full;
  create table a.bare(x int); alter table a.bare replica identity full;
  create table a.none(x int primary key); alter table a.none replica identity nothing;
  create table a.parted(id int, d date, primary key (id, d)) partition by range (d);
  create table a.parted_1 partition of a.parted for values from ('2020-01-01') to ('2021-01-01');
  create table a.pair(p int, d date, foreign key (d, p) references a.parted (d, id));
  create table a.by_index(x int not null, y int not null, z int); create unique index yx on a.by_index (y, x);
  alter table a.by_index replica identity using index yx; alter table a.by_index enable row level security;
  create function a.f() returns trigger language plpgsql as 'begin return new; end';
  create trigger t before insert or update on a.users for each row execute function a.f();
  alter table a.users enable always trigger t;
  create view a.v as select 1 as x;
  insert into a.users (email) values ('x'), ('y');`

describe.each([14, 18] as const)('the catalog of Postgres %i', (major) => {
  let server: Server
  let read: Catalog
  const users = () => tableOf(read, { schema: 'a', table: 'users' })!
  const other = (table: string) => tableOf(read, { schema: 'a', table })!

  async function on<T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({ connectionString: server.url(database) })
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end()
    }
  }
  const catalogOf = (client: pg.Client, options = {}) => readCatalog(async (sql, params) => (await client.query(sql, params)).rows, options)

  beforeAll(async () => {
    server = await startPostgres({ major })
    read = await on('postgres', async (client) => {
      await client.query(SCHEMA)
      await client.query('create role stranger; set role stranger')
      return catalogOf(client)
    })
  }, 60_000)
  afterAll(() => server.stop())

  it('says which server it is, without being a superuser', () => {
    expect(read).toMatchObject({ major, database: 'postgres', timeline: 1, encoding: 'UTF8', collation: 'C' })
    expect(read.systemId).toMatch(/^\d{19}$/)
    expect(read.enums.get('a.mood')).toEqual(['sad', 'ok', 'glad'])
    expect(read.extensions.has('plpgsql')).toBe(true)
  })

  it('lists user tables only, partitions with their root', () => {
    const names = read.tables.map((t) => `${t.schema}.${t.table}`)
    expect(names).not.toContain('rekey.ours')
    expect(names.every((n) => n.startsWith('a.'))).toBe(true)
    expect(other('parted')).toMatchObject({ kind: 'p', parent: null })
    expect(other('parted_1')).toMatchObject({ kind: 'r', parent: { schema: 'a', table: 'parted' } })
    expect(other('v').kind).toBe('v')
  })

  it('describes columns in order, dropped ones left out', () => {
    expect(users().columns.map((c) => c.name)).toEqual(['id', 'email', 'name', 'mood', 'shout', 'tags'])
    expect(users().columns[0])
      .toMatchObject({ type: 'bigint', typeOid: 20, typeCategory: 'N', nullable: false, identity: 'a', default: null })
    expect(users().columns[1]).toMatchObject({ collation: 'C', identity: '' })
    expect(users().columns[2].type).toBe('character varying(40)')
    expect(users().columns[3]).toMatchObject({ type: 'a.mood', typeCategory: 'E', default: "'ok'::a.mood" })
    expect(users().columns[4]).toMatchObject({ generated: true, default: null })
    expect(users().columns[5]).toMatchObject({ type: 'integer[]', typeCategory: 'A' })
  })

  it('tells usable unique keys from others, and leaves included columns out', () => {
    const usable = users().uniques.map((u) => [u.columns, u.usable])
    expect(usable).toEqual([[['id'], true], [['lower(email)'], false], [['name'], true], [['name'], false]])
    expect(users().uniques.find((u) => u.name === 'users_part')!.definition).toContain('WHERE')
    expect(other('kids').uniques.map((u) => u.columns)).toEqual([['a'], ['b']])
    expect(other('kids').primaryKey).toMatchObject({ columns: ['a'], deferrable: true })
  })

  it('follows the replica identity', () => {
    const identity = (table: string) => [other(table).identity, other(table).identityColumns]
    expect(identity('users')).toEqual(['d', ['id']])
    expect(identity('kids')).toEqual(['d', []])
    expect(identity('whole')).toEqual(['f', ['x']])
    expect(identity('bare')).toEqual(['f', []])
    expect(identity('none')).toEqual(['n', []])
    expect(identity('by_index')).toEqual(['i', ['y', 'x']])
  })

  it('pairs the columns of foreign keys, and leaves the copies of partitions out', () => {
    expect(other('pair').foreignKeys).toHaveLength(1)
    expect(other('pair').foreignKeys[0])
      .toMatchObject({ columns: ['d', 'p'], target: { schema: 'a', table: 'parted' }, targetColumns: ['d', 'id'] })
    expect(other('kids').foreignKeys[0])
      .toMatchObject({ columns: ['user_id'], onDelete: 'c', onUpdate: 'a', deferrable: true, validated: true })
    expect(other('kids').checks.map((c) => c.name)).toEqual(['positive'])
  })

  it('knows triggers, row security and sequences', () => {
    expect(users().triggers)
      .toMatchObject([{ name: 't', function: 'a.f', before: true, row: true, insert: true, update: true, delete: false, enabled: 'A' }])
    expect([other('by_index').rowSecurity, users().rowSecurity]).toEqual([true, false])
    expect(read.sequences).toEqual([{ schema: 'a', table: 'users_id_seq', last: null, ownedBy: 'a.users.id' }])
  })

  it('reads the named schemas only, and the value of a sequence with the right to it', async () => {
    const owned = await on('postgres', (client) => catalogOf(client, { schemas: ['a'] }))
    expect(owned.sequences[0].last).toBe('2')
    const none = await on('postgres', (client) => catalogOf(client, { schemas: ['public'] }))
    expect(none.tables).toEqual([])
  })

  it('gives the demo mapping nothing to complain about', async () => {
    const side = async (name: string): Promise<Catalog> => {
      await on('postgres', (client) => client.query(`create database ${name}`))
      return on(name, async (client) => {
        await client.query(await readFile(`mappings/demo/${name}.sql`, 'utf8'))
        return catalogOf(client)
      })
    }
    const { source } = await readMapping('mappings/demo')
    expect(compileMapping(source, await side('source'), await side('destination')).problems).toEqual([])
  })
})
