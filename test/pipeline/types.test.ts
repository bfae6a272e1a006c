import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Major } from '../support/binaries.ts'
import { sessionOptions } from '../../src/core/session.ts'
import { client, type Database, type TextRow } from '../support/database.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'
import { TYPE_DEFINITIONS, TYPE_SAMPLES, type TypeSample } from '../support/type-samples.ts'

/**
 * Text in is text out, for every type: as a plain value in the initial copy, in inserts and in updates, and as a primary key that is
 * copied, inserted, updated, deleted and changed. Both databases print values in their own way for everybody else: rekey must not care.
 */
const OTHER_DEFAULTS = `
do $$ declare setting text; begin
  foreach setting in array array['DateStyle = ''German, DMY''', 'IntervalStyle = ''sql_standard''', 'TimeZone = ''Asia/Kolkata''', 'bytea_output = ''escape''',
    'extra_float_digits = 0', 'array_nulls = off', 'standard_conforming_strings = off', 'xmloption = document', 'quote_all_identifiers = on',
    'transform_null_equals = on', 'default_transaction_isolation = serializable', 'lock_timeout = 20', 'statement_timeout = 20',
    'search_path = nowhere', 'client_min_messages = error', 'escape_string_warning = off']
  loop execute format('alter database %I set ', current_database()) || setting; end loop;
end $$`

/** What the type's output function prints: a cast to text is something else for some. */
const TEXT = "case when v is not null then format('%s', v) end as v"

const letters = (i: number): string => String.fromCharCode(97 + Math.floor(i / 26), 97 + (i % 26))
const name = (i: number): string => `t_${letters(i)}`
const keyName = (i: number): string => `k_${letters(i)}`

type Samples = readonly TypeSample[]

function tables(samples: Samples, idType: string): string {
  return samples.map(({ type, key }, i) => `create table ${name(i)} (id ${idType} primary key, n integer not null, phase text, v ${type});
    ${key ? `create table ${keyName(i)} (v ${type} primary key, phase text);` : ''}`).join('\n')
}

function mapping(samples: Samples): string {
  const keys = samples.flatMap(({ key }, i) => (key ? [keyName(i)] : []))
  const uuids = samples.flatMap(({ type }, i) => (type.startsWith('uuid') ? [[name(i), { notAnId: ['v'] }]] : []))
  return JSON.stringify({
    application: 'types',
    contexts: [{ name: 'all', tables: [...samples.map((_, i) => name(i)), ...keys, 'plain'] }],
    entities: Object.fromEntries([...samples.map((_, i) => [name(i), { prefix: `t${letters(i)}` }]), ...keys.map((k) => [k, 'keep']),
      ['plain', 'keep']]),
    tables: Object.fromEntries(uuids),
  })
}

/** A session in which literals mean what they say. */
async function pinned(url: string) {
  // From the first statement on: the timeouts of the database are shorter than a busy machine takes for one.
  const session = await client(`${url}?options=${encodeURIComponent(sessionOptions())}`)
  await session.query('set search_path = public')
  return session
}

async function rows(database: Database, sql: string): Promise<TextRow[]> {
  const session = await pinned(database.url)
  try {
    return (await session.query<TextRow>(sql)).rows
  } finally {
    await session.end()
  }
}

const before = ({ values, type, key }: TypeSample, i: number): string[] => [
  ...values.map((v,
    n) => `insert into ${name(i)} values (${n + 1}, ${n}, 'snapshot', ${v}::${type}), (${n + 1001}, ${n + 1000}, 'null', null)`),
  ...(key ? values.slice(0, -1).map((v) => `insert into ${keyName(i)} values (${v}::${type}, 'snapshot') on conflict do nothing`) : []),
]

const after = ({ values, type, key }: TypeSample, i: number): string[] => {
  const typed = values.map((v) => `${v}::${type}`)
  return [
    `update ${name(i)} set phase = 'snapshot, touched' where n < 1000`,
    ...typed.flatMap((v, n) => [
      `insert into ${name(i)} values (${n + 2001}, ${n + 2000}, 'insert', ${v})`,
      `update ${name(i)} set v = ${v}, phase = 'update' where id = ${n + 1001}`,
    ]),
    ...(key ? [
      `update ${keyName(i)} set phase = 'touched'`,
      ...(typed.length > 1 ? [`delete from ${keyName(i)} where v = ${typed[0]}`] : []),
      `insert into ${keyName(i)} values (${typed.at(-1)}, 'insert') on conflict do nothing`,
      ...(typed.length > 2 ? [`update ${keyName(i)} set v = ${typed[0]}, phase = 'moved' where v = ${typed[1]}`] : []),
    ] : []),
  ]
}

const RUNS: readonly { from: Major; to: Major; checks: 'engine' | 'set' }[] = [{ from: 15, to: 18, checks: 'engine' },
  { from: 18, to: 14, checks: 'set' }]

describe.each(RUNS)('Postgres $from to $to, checks: $checks', ({ from, to, checks }) => {
  const samples = TYPE_SAMPLES.filter(({ since = 0 }) => since <= Math.min(from, to))
  let rig: Rig
  let parked: readonly TextRow[]

  beforeAll(async () => {
    const plain = 'create table plain (id integer primary key);'
    rig = await createRig({
      servers: await pair({ source: from, destination: to }), mapping: mapping(samples), config: `checks: ${checks}`,
      sourceSql: TYPE_DEFINITIONS + plain + tables(samples, 'bigint'),
      destinationSql: TYPE_DEFINITIONS + plain + tables(samples, 'text collate "C"'),
    })
    await rig.source.query(OTHER_DEFAULTS)
    await rig.destination.query(OTHER_DEFAULTS)
    const writer = await pinned(rig.source.url)
    const fill = (statements: (sample: TypeSample, i: number) => string[]) => writer.query(samples.flatMap(statements).join(';\n'))
    await fill(before)
    const running = rig.start()
    await rig.caughtUp(running)
    await fill(after)
    await rig.caughtUp(running)
    await running.stop()
    await writer.end()
    parked = await rows(rig.destination, 'select tbl, key, op, sqlstate from rekey.parked')
  })
  afterAll(() => rig?.close())

  test('everybody else sees these databases with other settings', async () => {
    for (const { url } of [rig.source, rig.destination]) {
      const session = await client(url)
      const { rows: [seen] } = await session.query(`select ('2024-02-01 00:00:00+00'::timestamptz)::text as at, E'\\\\x00'::bytea::text as bytes, ('{NULL}'::text[])[1] is null as nulls`)
      await session.end()
      expect(seen).toEqual({ at: '01.02.2024 05:30:00 IST', bytes: '\\000', nulls: 'f' })
    }
  })

  describe.each(samples.map((one, i) => ({ ...one, i })))('$type', ({ values, key, i }) => {
    test('copied, inserted and updated', async () => {
      const sql = `select n, phase, ${TEXT} from ${name(i)} order by n`
      const wanted = await rows(rig.source, sql)
      expect(wanted).toHaveLength(3 * values.length)
      expect(parked.filter(({ tbl }) => tbl === `public.${name(i)}`)).toEqual([])
      expect(await rows(rig.destination, sql)).toEqual(wanted)
    })
    if (!key) return
    test('as a key', async () => {
      const sql = `select phase, ${TEXT} from ${keyName(i)} order by format('%s', v) collate "C"`
      const wanted = await rows(rig.source, sql)
      expect(wanted.length).toBeGreaterThan(0)
      expect(parked.filter(({ tbl }) => tbl === `public.${keyName(i)}`)).toEqual([])
      expect(await rows(rig.destination, sql)).toEqual(wanted)
    })
  })
})
