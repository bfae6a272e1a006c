import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSource, type OpenSource } from '../../connectors/postgres-source/source.ts'
import { createSlot } from '../../connectors/postgres-source/slot.ts'
import { ensurePublication } from '../../connectors/postgres-source/publication.ts'
import { valuesOf } from '../../src/core/row.ts'
import { createDatabase, type Database } from '../support/database.ts'
import { server } from '../support/servers.ts'

describe.each([14, 18] as const)('PostgreSQL %i', async (major) => {
  const host = await server(major)
  let db: Database
  let opened: OpenSource

  beforeEach(async () => {
    db = await createDatabase(host)
    opened = openSource({ url: db.url, slot: 's', publication: 'p', epoch: 1 })
  })
  afterEach(async () => {
    await opened.close()
    await db.drop()
  })

  async function copyAll(table: string, rows: number, columns: readonly string[]) {
    const chunks = await opened.source.chunks({ schema: 'public', table }, rows)
    const out: (string | null | undefined)[][] = []
    for (const chunk of chunks) for await (const some of opened.source.copy(chunk, columns)) out.push(...some.map(valuesOf))
    return { chunks, out }
  }
  const same = async (table: string, got: readonly (string | null | undefined)[][], columns: string) => {
    const want = (await db.query(`select ${columns} from ${table}`)).map((row) => Object.values(row))
    const sorted = (rows: readonly unknown[]): string[] => rows.map((row) => JSON.stringify(row)).sort()
    expect(sorted(got)).toEqual(sorted(want))
  }

  it.each([
    ['one integer', 'id int primary key', 'g * 3 - 500'],
    ['text with quotes, tabs and backslashes', 'id text primary key', `'k''\t\\ü' || g`],
    ['two columns', 'id int, b text, primary key (b, id)', 'g, chr(65 + g % 20)'],
    ['none', 'id int', 'g'],
  ])('all rows, key: %s', async (_name, definition, values) => {
    const more = definition.includes('b text') ? '' : ', b text'
    await db.query(`create table t (${definition}${more}, v text, j jsonb)`)
    const b = more ? ", 'b'" : ''
    await db.query(`insert into t select ${values}${b}, case g % 4 when 0 then null when 1 then '' when 2 then E'a\\tb\\nc\\\\N' else repeat('x', 200) end,
      '{"a": [1.10, 2]}' from generate_series(1, 5000) g`)
    for (const analyzed of [false, true]) {
      if (analyzed) await db.query('analyze t')
      const { chunks, out } = await copyAll('t', 700, ['id', 'b', 'v', 'j'])
      expect(chunks.length).toBe(_name === 'none' ? 1 : 8)
      expect([chunks[0].after, chunks.at(-1)!.upTo]).toEqual([null, null])
      await same('t', out, 'id, b, v, j')
    }
  })

  it('an empty table, a parent with children, a partitioned table and a single column of empty strings', async () => {
    await db.query(`create table empty (id int primary key); create table parent (id int primary key); create table child () inherits (parent);
      insert into parent values (1); insert into child values (2);
      create table parted (id int primary key) partition by range (id);
      create table parted_1 partition of parted for values from (0) to (10); create table parted_2 partition of parted for values from (10) to (20);
      insert into parted values (5), (15); create table blank (v text); insert into blank values (''), (null), ('')`)
    expect((await copyAll('empty', 10, ['id'])).out).toEqual([])
    expect((await copyAll('parent', 10, ['id'])).out).toEqual([['1']])
    expect((await copyAll('parted', 10, ['id'])).out).toEqual([['5'], ['15']])
    expect((await copyAll('blank', 10, ['v'])).out).toEqual([[''], [null], ['']])
    expect((await copyAll('empty', 10, [])).out).toEqual([])
  })

  it('a connection that is lost behind the last row is trouble that passes: whether all rows were there is not known', async () => {
    await db.query('create table t (id int primary key); insert into t values (1)')
    const [chunk] = await opened.source.chunks({ schema: 'public', table: 't' }, 10)
    const rows = opened.source.copy(chunk, ['id'])[Symbol.asyncIterator]()
    expect((await rows.next()).value.map(valuesOf)).toEqual([['1']])
    await db.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'copy%'")
    await expect(rows.next()).rejects.toMatchObject({ name: 'RekeyError', code: 'REMOTE' })
  })

  it('reads the snapshot of the slot while it lives, on every connection, and says so', async () => {
    await db.query("create table t (id int primary key); insert into t select generate_series(1, 1000)")
    await ensurePublication(db.url, 'p', [{ schema: 'public', table: 't' }])
    const slot = await createSlot(db.url, `s_${db.name}`)
    await db.query('insert into t values (5000); delete from t where id < 10')
    const pinned = openSource({ url: db.url, slot: 's', publication: 'p', epoch: 1, snapshotName: slot.snapshot })
    expect(await pinned.exported()).toBe(true)
    await slot.close()
    const chunks = await pinned.source.chunks({ schema: 'public', table: 't' }, 100)
    const counts = await Promise.all(chunks.map(async (chunk) => {
      let n = 0
      for await (const rows of pinned.source.copy(chunk, ['id'])) n += rows.length
      return n
    }))
    expect(counts.reduce((a, b) => a + b)).toBe(1000)
    await pinned.close()
    const late = openSource({ url: db.url, slot: 's', publication: 'p', epoch: 1, snapshotName: slot.snapshot })
    expect(await late.exported()).toBe(false)
    await late.close()
  })

  it('a consumer that stops early or a query that fails costs neither the pool nor the snapshot', async () => {
    await db.query("create table t (id int primary key, v text); insert into t select g, repeat('x', 500) from generate_series(1, 50000) g")
    const [chunk] = await opened.source.chunks({ schema: 'public', table: 't' }, 1_000_000)
    for (let i = 0; i < 3; i++) {
      for await (const rows of opened.source.copy(chunk, ['id', 'v'])) {
        expect(rows.length).toBeGreaterThan(100)
        break
      }
      const failing = opened.source.copy(chunk, ['missing'])[Symbol.asyncIterator]()
      await expect(failing.next()).rejects.toMatchObject({ sqlstate: '42703' })
    }
    await db.query('delete from t')
    let n = 0
    for await (const rows of opened.source.copy(chunk, ['v', 'id'])) n += rows.length
    expect(n).toBe(50_000)
  })

  it('reads single rows as they are now', async () => {
    await db.query(`create table t (a int, b text, v text, primary key (a, b)); insert into t values (1, 'x''\\', 'one'), (2, 'y', null)`)
    const read = (by: string[], keys: string[][]) => opened.source.read({ schema: 'public', table: 't' }, ['v', 'a'], by, keys)
    expect((await read(['a', 'b'], [['1', "x'\\"], ['9', 'z']])).map(valuesOf)).toEqual([['one', '1']])
    await db.query("update t set v = 'new' where a = 2")
    expect((await read(['a'], [['2']])).map(valuesOf)).toEqual([['new', '2']])
    expect(await read(['a'], [])).toEqual([])
  })
})
