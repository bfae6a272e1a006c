import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { configOf, MAPPING } from '../../bench/rekey.ts'
import { baseRows, INTEGER_TABLES, OWN, ownRows, PROJECTS, TEXT_TABLES, USERS } from '../../bench/tables.ts'
import { workload } from '../../bench/workloads.ts'
import { readCatalog } from '../../src/prepare/catalog.ts'
import { parseConfig } from '../../src/config/config.ts'
import { parseMapping } from '../../src/config/mapping-files.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { createDatabase } from '../support/database.ts'
import { server } from '../support/servers.ts'

test('the mapping fits the tables, and rekey accepts the configuration', async () => {
  const here = await server(15)
  const source = await createDatabase(here)
  const destination = await createDatabase(here)
  await source.query(INTEGER_TABLES)
  await destination.query(TEXT_TABLES + ownRows())
  const [from, to] = await Promise.all([source, destination].map((one) => readCatalog((sql, params) => one.query(sql, params))))
  const files = parseMapping('mapping', new Map([['mapping.yaml', stringify(MAPPING)]]))
  expect(compileMapping(files.source, from, to).problems).toEqual([])
  const config = parseConfig('rekey.yaml', stringify(configOf({ phase: 'a', source: source.url, destination: destination.url }, { checks: 'set', indexes: 'keep' })), {})
  expect(config).toMatchObject({ pipeline: 'bench_a', checks: 'set' })
  const sql = `select count(*) from public.users o
    where exists (select 1 from generate_series(1, $1::int) n where lower(o.email) = 'user' || n || '@example.org')`
  expect(await destination.query(sql, [USERS])).toEqual([{ count: String(OWN.sharedEmails) }])
  await Promise.all([source.drop(), destination.drop()])
})

test('a workload changes as many rows as it says, and the payload has the size it should', async () => {
  const source = await createDatabase(await server(15))
  await source.query(INTEGER_TABLES + baseRows(400))
  const [{ size }] = await source.query('select round(avg(octet_length(inputs::text))) as size from nodes')
  expect(Number(size)).toBeGreaterThan(305)
  expect(Number(size)).toBeLessThan(320)
  const a = workload('a', 0.002)
  await source.query(a.statements[0])
  expect(await source.query(a.statements[1])).toEqual([{ rows: '1000', transactions: '1' }])
  await source.query('delete from nodes where id > 400')
  const b = workload('b', 0.002)
  await source.query(b.statements[0])
  const [done] = await source.query(b.statements[2])
  expect(done['transactions']).toBe('400')
  expect(Number(done['rows'])).toBeGreaterThan(3 * 400)
  expect(await source.query('select count(*) from projects')).toEqual([{ count: String(PROJECTS) }])
  await source.drop()
})
