import { afterAll, beforeAll, expect, test } from 'vitest'
import { closes } from '../../src/core/totals.ts'
import { namesOf } from '../../src/pipeline/open.ts'
import { connectorFor } from '../support/debezium.ts'
import { random } from '../support/random.ts'
import { createRig, type Rig } from '../support/rig.ts'
import { startConnect, type Connect } from '../support/services/connect.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { DESTINATION_SQL, MAPPING, SOURCE_SQL, THEIRS_SQL, workload } from './workload.ts'

/** A stock Debezium Postgres connector captures; rekey delivers what it writes. */
const [servers, broker] = await Promise.all([pair({ source: 15, destination: 18 }), startKafka()])
const { seed } = random()
const LOG = `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], format: debezium, keepsNulls: true }`
let connect: Connect

beforeAll(async () => {
  connect = await startConnect({ kafka: broker })
})

afterAll(async () => {
  await connect?.stop()
  await broker.stop()
})

/** Slot and topic are made by rekey; a connector would wait for neither. */
async function slotOf(rig: Rig): Promise<void> {
  await expect.poll(async () => (await rig.source.query('select confirmed_flush_lsn as at from pg_replication_slots where slot_name = $1',
    [namesOf(rig.config).slot]))[0]?.at ?? null).not.toBeNull()
}

test('random work, with a connector that is killed and one that is taken away', async () => {
  const rig = await createRig({
    servers, sourceSql: SOURCE_SQL, destinationSql: DESTINATION_SQL, mapping: MAPPING,
    config: `snapshot: { rowsPerChunk: 100 }\nbatch: { rows: 40 }\n${LOG}`,
  })
  try {
    await rig.destination.query(THEIRS_SQL)
    const work = workload({ url: rig.source.url, seed })
    await work.run(40)
    const running = rig.start({ role: 'deliver' })
    await slotOf(rig)
    await connect.add('source', connectorFor(rig))
    const working = work.run(100)
    await expect.poll(() => work.committed).toBeGreaterThan(80)
    await connect.crash()
    await connect.add('source', connectorFor(rig))
    await working
    await connect.remove('source')
    await work.run(10)
    await connect.add('source', connectorFor(rig))
    await work.run(10)
    await rig.caughtUp(running)
    expect(await rig.destination.query("select tbl, key, op, sqlstate, reason, change from rekey.parked where state <> 'done'")).toEqual([])
    expect(await rig.differences()).toEqual([])
    for (const [table, totals] of Object.entries(running.latest()!.totals)) expect([table, closes(totals)]).toEqual([table, true])
    expect(work.committed).toBeGreaterThan(50)
    await running.stop()
  } finally {
    await connect.remove('source')
    await rig.close()
  }
})

/** Values, and another for the update. Rows of one table are sent whole when they change, of the other their key alone. */
const TYPES = {
  small: ['smallint', '-32768', '7'], big: ['bigint', '9007199254740993', '-9223372036854775808'], object: ['oid', '4294967295', '0'],
  single: ['real', '1e-45', '-0'], double: ['double precision', '5e-324', 'NaN'], yes: ['boolean', 'true', 'false'],
  bytes: ['bytea', '\\x00ff5c0a', ''], words: ['text', 'ä €𝄞 "x" \\ \' \t\n', '\\N'], short: ['varchar(20)', 'trailing  ', ''], padded: ['char(8)', 'ab', ' x'],
  ci: ['citext', 'AbC', 'aBc'], uid: ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '00000000-0000-0000-0000-000000000000'],
  js: ['json', '{"b": 1,   "b": 1e400}', 'null'], jsb: ['jsonb', '{"a": 1.10, "b": [null]}', 'null'], doc: ['xml', '<a b="1">\n <c/>ü</a>', ''],
  feeling: ['mood', 'so "so"', 'sad'], day: ['date', '0001-01-01', '9999-12-31'], hour: ['time(3)', '12:34:56.789', '24:00:00'],
  hours: ['time', '23:59:59.999999', '00:00'], moment: ['timestamp(3)', '1969-12-31 23:59:59.999', '2024-02-29 00:00'],
  moments: ['timestamp', '9999-12-31 23:59:59.999999', '0001-01-01 00:00:00'], zoned: ['timestamptz', '1890-01-01 00:00:00.000001+00', 'infinity'],
  span: ['interval', '1 year -2 mons 3 days -04:05:06.7', '-00:00:00.000001'], price: ['numeric(30, 10)', '-12345678901234567890.1234567890', 'NaN'],
  free: ['numeric', '0.00000000000000000001000', '1e30'], flag: ['bit(1)', '1', '0'], flags: ['bit(9)', '100000011', '000000000'],
  host: ['inet', '192.168.0.1/24', '::1'], net: ['cidr', '10.0.0.0/8', '::/0'], mac: ['macaddr', '08:00:2b:01:02:03', 'ff:ff:ff:ff:ff:ff'],
  span4: ['int4range', '[1,5)', 'empty'], spant: ['tstzrange', '["2024-01-01 00:00:00+00",)', '(,)'], tree: ['ltree', 'Top.A_1', ''],
  found: ['tsvector', `'a':1A,2 'b c':3`, ''], kept: ["text default 'x'", 'y', 'x'],
} as const
const columns = Object.entries(TYPES)
const list = columns.map(([name]) => name).join()
const shape = (id: string) => `create extension if not exists citext; create extension if not exists ltree; create type mood as enum ('sad', 'so "so"');
  ${['whole', 'partial'].map((name) => `create table ${name} (id ${id} primary key, large text, ${columns.map(([c, [type]]) => `${c} ${type}`).join()});
  alter table ${name} alter large set storage external;`).join('\n')}`
const mapping = JSON.stringify({
  application: 'types', contexts: [{ name: 'all', tables: ['whole', 'partial'] }], defaults: { truncate: 'owned' },
  entities: { whole: { prefix: 'who' }, partial: { prefix: 'par' } }, tables: { whole: { notAnId: ['uid'] }, partial: { notAnId: ['uid'] } },
})
const literal = (value: string): string => `'${value.replaceAll("'", "''")}'`
const typed = (config: string): Promise<Rig> => createRig({
  servers, mapping, config, sourceSql: `${shape('bigint')} alter table whole replica identity full`, destinationSql: shape('text collate "C"') })

test('values of every type that the connector carries exactly, nulls, large values left alone, keys, deletes, truncates', async () => {
  const rig = await typed(LOG)
  try {
    const running = rig.start({ role: 'deliver' })
    const agree = async (): Promise<void> => {
      await rig.caughtUp(running)
      expect(await rig.destination.query("select tbl, key, op, sqlstate, reason from rekey.parked where state <> 'done'")).toEqual([])
      expect(await rig.differences()).toEqual([])
    }
    await slotOf(rig)
    await connect.add('source', connectorFor(rig))
    for (const table of ['whole', 'partial']) {
      await rig.source.query(`insert into ${table} (id, large, ${list})
        values (1, (select string_agg(md5(n::text), '') from generate_series(1, 300) n), ${columns.map(([, [, value]]) => literal(value)).join()});
        insert into ${table} (id, kept) values (2, null), (3, null)`)
    }
    await agree()
    for (const table of ['whole', 'partial']) {
      await rig.source.query(`update ${table} set ${columns.map(([name, [, , value]]) => `${name} = ${literal(value)}`).join()} where id = 1`)
      await rig.source.query(`update ${table} set id = 9007199254740993 where id = 1; delete from ${table} where id = 2`)
      await rig.source.query(`begin; update ${table} set id = -1 where id = 3; update ${table} set (${list}) = (select ${list} from ${table} where id > 3); commit`)
    }
    await agree()
    expect(await rig.destination.query('select count(*) as rows, count(large) as large from partial')).toEqual([{ rows: '2', large: '1' }])
    await rig.source.query('truncate whole, partial')
    await agree()
    expect(await rig.destination.query('select count(*) as rows from whole')).toEqual([{ rows: '0' }])
    await running.stop()
  } finally {
    await connect.remove('source')
    await rig.close()
  }
})

test('a connector with another form of numbers is refused, and nothing is written', async () => {
  const rig = await typed(LOG)
  try {
    const running = rig.start({ role: 'deliver' })
    await slotOf(rig)
    await connect.add('source', { ...connectorFor(rig), 'decimal.handling.mode': 'precise' })
    await rig.source.query('insert into partial (id, price) values (1, 1.5)')
    await expect(running.ended).rejects.toMatchObject({
      code: 'CONFIG', message: expect.stringMatching(/price cannot be taken .* needs decimal\.handling\.mode=string/) })
    expect(await rig.destination.query('select count(*) as rows from partial')).toEqual([{ rows: '0' }])
  } finally {
    await connect.remove('source')
    await rig.close()
  }
})

test('capture is the connector\'s', async () => {
  const rig = await typed(LOG)
  await expect(rig.start().ended).rejects.toMatchObject({ code: 'USAGE' })
  await rig.close()
})
