import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CommandLine, commandLine } from '../support/command-line.ts'
import { redisClient } from '../support/redis-client.ts'
import { pair } from '../support/servers.ts'
import { startRedis } from '../support/services/redis.ts'

/** The demo application was carried; its source is shut down before anything is asked over HTTP. */
const [{ source: from, destination: to }, redis] = await Promise.all([pair({ source: 15, destination: 16 }), startRedis()])
const client = await redisClient(redis.url)
let line: CommandLine
let url = ''
let stop = (): void => {}
let served: Promise<{ exit: number; err: string }>
const TOKEN = 'a-token-of-some-length'

beforeAll(async () => {
  line = await commandLine(from, to)
  await appendFile(join(line.folder, 'rekey.yaml'), `
idMap: redis
redis: { url: "${redis.url}", compare: 100ms }
resolver:
  listen: 127.0.0.1:0
  token: ${TOKEN}
  urls: { users: "https://new.example/people/{id}", groups: "https://new.example/groups?g={id}" }
`)
  await line.source.query(`insert into users (id, email, name, first_name, last_name)
    values (3, 'carl@lab.test', 'carl', 'Carl', 'C'), (4, 'dora@lab.test', 'dora', 'Dora', 'D')`)
  expect((await line.rekey(['serve'])).err).toContain('has carried nothing yet')
  let phase = 0
  await line.rekey(['run', '--json'], {
    async on(text, signal) {
      if (phase === 0 && text.includes('"phase":"stream"')) {
        phase = 1
        await line.source.query('delete from users where id = 4')
        phase = 2
      } else if (phase === 2 && /"deleted":1/.test(text)) signal()
    },
  })
  await line.destination.query(
    `insert into rekey.parked (pipeline, tbl, key, op, sqlstate, reason, change, behind, commit_lsn, ordinal, state, note) values
       ('clitest', 'public.users', '70', 'insert', '23505', 'a row has this key', '{}', false, '0/10', 1, 'waived', 'a test account'),
       ('clitest', 'public.users', '71', 'insert', '23505', 'a row has this key', '{}', false, '0/10', 1, 'waiting', null)`)
  served = line.rekey(['serve', '--json'], {
    on(text, signal) {
      stop = signal
      const said = /"url":"([^"]+)"/.exec(text)
      if (said) url = said[1]
    },
  })
  while (url === '') await new Promise((resolve) => setTimeout(resolve, 10))
}, 60_000)

afterAll(async () => {
  stop()
  expect((await served).exit).toBe(0)
  await client.set('rekey:others:state', 'stays')
  expect(await line.json(['remove', '--yes', '--force'])).toMatchObject({ copy: 'removed' })
  expect(await client.keys('*')).toEqual(['rekey:others:state'])
  await line.close()
  client.disconnect()
  await redis.stop()
})

interface Got { status: number; location: string | null; body: any }

async function get(path: string, headers: Record<string, string> = {}): Promise<Got> {
  const answer = await fetch(url + path, { redirect: 'manual', headers: { authorization: `Bearer ${TOKEN}`, ...headers } })
  const text = await answer.text()
  return { status: answer.status, location: answer.headers.get('location'), body: text === '' ? null : JSON.parse(text) }
}

const json = (path: string): Promise<Got> => get(path, { accept: 'application/json' })

describe('old ids over HTTP', () => {
  it('redirect to where it is now: merged, and made by us', async () => {
    expect(await get('/users/1')).toEqual({ status: 308, location: 'https://new.example/people/usr_ann_over_there', body: null })
    const bob = (await line.destination.query("select id from users where email = 'bob@lab.test'"))[0].id!
    expect((await get('/users/2')).location).toBe(`https://new.example/people/${bob}`)
    expect((await get('/groups/1')).location).toBe('https://new.example/groups?g=grp_everyone')
    expect(await json('/users/1')).toMatchObject({
      status: 200, body: { status: 'here', entity: 'users', old: '1', new: 'usr_ann_over_there', kind: 'merged', url: 'https://new.example/people/usr_ann_over_there' },
    })
  })

  it('tell without a redirect where there is no template', async () => {
    expect(await get('/memberships/2,2')).toMatchObject({ status: 200, location: null, body: { status: 'here', kind: 'inserted', url: null } })
  })

  it('are gone, with the reason, when they will not come', async () => {
    expect(await get('/users/4')).toMatchObject({ status: 410, location: null, body: { status: 'gone', kind: 'gone', note: 'its row was deleted' } })
    expect(await get('/users/70')).toMatchObject({ status: 410, body: { note: 'it was decided not to carry it: a test account' } })
    await line.destination.query("update rekey.id_map set kind = 'pinned', rule = 'decided: drop' where entity = 'users' and old = '3'")
    await client.hdel('rekey:clitest:map:users', '3')
    expect(await get('/users/3')).toMatchObject({ status: 410, body: { note: 'it was decided not to carry it' } })
  })

  it('are not found when nothing is known of them', async () => {
    expect(await get('/users/71')).toMatchObject({ status: 404, body: { status: 'unknown', note: 'it waits for a decision: a row has this key' } })
    for (const path of ['/users/999', '/users/x', '/users/1%00', '/nobody/1', '/__proto__/1', '/constructor/1', '/users', '/users/1/2', '/']) {
      expect([path, (await get(path)).status]).toEqual([path, 404])
    }
    expect((await get(`/users/${'9'.repeat(200)}`)).status).toBe(414)
  })

  it('never lead elsewhere', async () => {
    await line.destination.query(`insert into rekey.id_map values ('clitest', 'users', '80', '//evil.example/..', 'merged', '', ''),
      ('clitest', 'users', '81', '..', 'merged', '', '')`)
    expect((await get('/users/80')).location).toBe('https://new.example/people/%2F%2Fevil.example%2F..')
    expect(await get('/users/81')).toMatchObject({ status: 200, location: null })
    expect((await get('//evil.example/1')).location).toBeNull()
  })

  it('and back', async () => {
    expect(await get('/_new/usr_ann_over_there')).toMatchObject({ status: 200, body: { entity: 'users', old: '1', kind: 'merged' } })
    expect(await get('/_new/grp_everyone?entity=users')).toMatchObject({ status: 404 })
    expect(await get('/_new/usr_nobody?entity=nobody')).toMatchObject({ status: 404 })
    expect(await get('/_new/usr_nobody?entity=users&entity=groups')).toMatchObject({ status: 404 })
  })

  it('only for those who have the token', async () => {
    expect((await get('/users/1', { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await fetch(`${url}/users/1`)).status).toBe(401)
  })
})

describe('the copy in Redis', () => {
  it('is asked first, compared afterwards, and corrected', async () => {
    const keys = await client.hkeys('rekey:clitest:map:users')
    expect(keys).toEqual(expect.arrayContaining(['1', '2']))
    // An entry of ours that is old: it is answered once, and then not any more.
    await line.destination.query("update rekey.id_map set new = 'usr_since' where entity = 'users' and old = '1'")
    expect((await get('/users/1')).location).toBe('https://new.example/people/usr_ann_over_there')
    const since = async (): Promise<boolean> => (await get('/users/1')).location === 'https://new.example/people/usr_since'
    for (const end = Date.now() + 5_000; !(await since());) if (Date.now() > end) throw new Error('it was not corrected')
    await line.destination.query("update rekey.id_map set new = 'usr_ann_over_there' where entity = 'users' and old = '1'")
  })

  it('`resolve` says what the ledger says, and corrects the copy', async () => {
    await line.destination.query("update rekey.id_map set new = 'usr_bob_since' where entity = 'users' and old = '2'")
    expect(await line.json(['resolve', 'users', '2'])).toMatchObject({ found: true, how: 'ledger', new: 'usr_bob_since' })
    expect(await client.hget('rekey:clitest:map:users', '2')).toMatch(/^\?/)
  })

  it('is missed by nobody when it is away', async () => {
    await redis.kill()
    expect((await get('/users/2')).location).toBe('https://new.example/people/usr_bob_since')
    expect(await line.json(['resolve', 'users', '2'])).toMatchObject({ new: 'usr_bob_since' })
    await redis.restart()
  })
})

describe('the configuration', () => {
  it('is told what it lacks', async () => {
    const other = await commandLine(from, to)
    try {
      expect(await other.rekey(['serve'])).toMatchObject({ exit: 2, err: expect.stringContaining('resolver is not configured') })
      await appendFile(join(other.folder, 'rekey.yaml'), 'resolver: { listen: "0.0.0.0:0", urls: { users: "https://{id}.example/" } }\n')
      const { err } = await other.rekey(['serve'])
      expect(err).toContain('resolver.token: is needed to listen beyond the own machine')
      expect(err).toContain('resolver.urls.users: expected https://host/path with one {id}')
    } finally {
      await other.close()
    }
  })
})
