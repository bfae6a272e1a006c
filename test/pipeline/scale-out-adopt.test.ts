import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Child, startChild } from '../support/child.ts'
import { client } from '../support/database.ts'
import { drained } from '../support/drained.ts'
import { random, type Random } from '../support/random.ts'
import { createRig } from '../support/rig.ts'
import { startKafka } from '../support/services/kafka.ts'
import { pair } from '../support/servers.ts'
import { APPLICATION, MAPPING, same } from './adopt-application.ts'

/** Rows that triggers of the destination make, adopted by several processes. */
const [servers, broker] = await Promise.all([pair({ source: 16, destination: 17 }), startKafka()])
const { seed } = random()

const some = (what: string, from: string, n: number): string => `(select ${what} from ${from} order by md5(${what}::text || ${n}) limit 1)`
/** Not a group that a trigger has made: what its trigger writes there and what we write would meet. */
const TEAM = "(select gid from groups where kind = 'STANDARD') teams"

type Operation = (n: number) => string
const OPERATIONS: readonly Operation[] = [
  (n) => `insert into users (name) values ('u${n}')`,
  (n) => `with u as (insert into users (name) values ('w${n}') returning id) insert into notes (body) select 'of nobody ${n}' from u`,
  (n) => `update users set name = 'v${n}' where id = ${some('id', 'users', n)}`,
  (n) => `do $$ declare u record; begin
    select * into u from users order by md5(id::text || ${n}) limit 1;
    delete from wallets where owner = u.primary_gid;
    delete from user_to_groups where uid = u.id or gid = u.primary_gid;
    delete from users where id = u.id;
  end $$`,
  (n) => `insert into groups (name) values ('team ${n}')`,
  (n) => `update groups set name = 'renamed ${n}' where gid = ${some('gid', TEAM, n)}`,
  (n) => `insert into user_to_groups select ${some('id', 'users', n)}, ${some('gid', TEAM, n)}, 'guest' on conflict do nothing`,
  (n) => `update user_to_groups set role = 'r${n}' where gid = ${some('gid', 'groups', n)}`,
  ...Array.from({ length: 8 }, (): Operation => (n) => `insert into wallets (owner, name) values (${some('gid', 'groups', n)}, 'w${n}')`),
  ...Array.from({ length: 8 }, (): Operation => (n) => `update wallets set name = 'x${n}' where id % 5 = ${n % 5} and id > (select max(id) - 20 from wallets)`),
  (n) => `update wallets set owner = ${some('gid', 'groups', n)} where id = ${some('id', 'wallets', n)}`,
  (n) => `delete from wallets where id = ${some('id', 'wallets', n)}`,
  ...Array.from({ length: 4 }, (): Operation => (n) => `insert into notes (body) select 'of group ' || ${some('gid', 'groups', n)}`),
]

async function work(url: string, chance: Random, signal: AbortSignal): Promise<number> {
  const session = await client(url)
  let committed = 0
  for (let n = 1; !signal.aborted; n++) {
    try {
      await session.query('begin')
      for (let i = chance.int(1, 3); i > 0; i--) await session.query(chance.pick(OPERATIONS)(chance.int(1, 1_000_000_000)))
      await session.query('commit')
      committed++
    } catch (error) {
      if (!/^(23|40)/.test((error as { code?: string }).code ?? '')) throw error
      await session.query('rollback')
    }
    await sleep(15)
  }
  await session.end()
  return committed
}

test('several processes adopt what triggers make, are killed under way, and all is as at the source', async () => {
  const rig = await createRig({
    servers, mapping: MAPPING.replace('tables:\n', 'tables:\n  wallets: { root: owner }\n'),
    sourceSql: `${APPLICATION} alter table wallets replica identity full`,
    destinationSql: `${APPLICATION} select setval('groups_gid_seq', 500); select setval('users_id_seq', 500)`,
    config: `log: kafka\nkafka: { brokers: ['${broker.bootstrap}'], partitions: 4 }`,
  })
  const stop = new AbortController()
  const children: Child[] = []
  const start = (role: 'capture' | 'deliver'): Child => {
    const child = startChild(rig.config, { role })
    children.push(child)
    return child
  }
  const failures = (): string | undefined => children.flatMap(({ lines }) => lines.filter((line) => /^failed (?!REMOTE|SLOT_IN_USE)/.test(line)))[0]
  try {
    await rig.source.query("insert into groups (name) values ('team'); insert into users (name) select 'first ' || n from generate_series(1, 40) n; insert into wallets (owner, name) select primary_gid, name from users")
    start('capture')
    const delivering = [start('deliver'), start('deliver'), start('deliver')]
    await Promise.all(delivering.map((child) => child.heard(/ takes partition/)))
    const working = work(rig.source.url, random({ seed, quiet: true }), stop.signal)
    working.catch(() => {})
    await sleep(2_000)
    delivering[0].kill('SIGKILL')
    await start('deliver').heard(/ takes partition/)
    await sleep(1_500)
    delivering[1].kill('SIGKILL')
    await sleep(3_000)
    stop.abort()
    expect(await working).toBeGreaterThan(100)
    await drained(rig, { seconds: 60, failed: failures })
    await same(rig)
    expect(failures()).toBeUndefined()
    const [{ n }] = await rig.destination.query("select count(*)::text as n from rekey.id_map where kind = 'adopted' and entity = 'groups'")
    expect(Number(n)).toBeGreaterThan(40)
    expect(children.some(({ lines }) => lines.some((line) => line.includes('one after the other')))).toBe(true)
  } catch (error) {
    for (const child of children) console.error(child.pid, child.lines.filter((line) => !line.startsWith('at ')).slice(-15), child.lines.at(-1))
    console.error(await rig.destination.query('select partition, writer, commit_lsn, updated_at from rekey.lane order by 1').catch(String))
    throw error
  } finally {
    stop.abort()
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(children.map((child) => child.ended))
    await rig.close()
  }
}, 150_000)
