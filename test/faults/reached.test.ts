import dns from 'node:dns'
import { copyFile, chown, chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { run } from '../../src/pipeline.ts'
import { failureOf, parentsRig, withBridge } from '../support/accident.ts'
import { makeCertificates } from '../support/certificates.ts'
import { startPostgres, type Server } from '../support/postgres.ts'
import { startProxy } from '../support/proxy.ts'
import { pair } from '../support/servers.ts'

/** Servers that let rekey in no more, not as it wants, or not with so many connections, or that cannot give a value. */
const servers = await pair({ source: 15, destination: 18 })
const strict = await startPostgres({ major: 17, settings: { max_replication_slots: '1', max_wal_senders: '4' } })
const certificates = await makeCertificates(['server', 'expired'])
afterAll(() => Promise.all([strict.stop(), certificates.remove()]))

const as = (role: string) => (url: string): string => {
  const changed = new URL(url)
  changed.username = role
  return changed.href
}

test('no slot is free: named, and nothing is left behind', async () => {
  const rig = await parentsRig({ source: strict, destination: servers.destination })
  try {
    await rig.source.query(`select pg_create_physical_replication_slot('taken')`)
    const { exit, message } = await failureOf(rig.start())
    expect(exit).toBe(5)
    expect(message).toMatch(/slot/)
    expect(await rig.source.query(`select slot_name from pg_replication_slots`)).toEqual([{ slot_name: 'taken' }])
    await rig.source.query(`select pg_drop_replication_slot('taken')`)
    await withBridge(rig, async () => {})
  } finally {
    await rig.source.query(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'taken'`)
    await rig.close()
  }
})

test('the name of the source is not known for a while, and leads elsewhere then: it is asked again for each connection', async () => {
  const system = dns.lookup
  let address: string | null = '127.0.0.1'
  let asked = 0
  // In the place of the system's resolver, which every connection asks.
  const resolver = (name: string, ...rest: unknown[]): void => {
    if (name !== 'source.rekey.test') return (system as unknown as (...all: unknown[]) => void)(name, ...rest)
    asked++
    const options = rest[0] as { all?: boolean }
    const done = rest.at(-1) as (error: Error | null, found?: unknown, family?: number) => void
    if (address === null) done(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }))
    else if (options.all) done(null, [{ address, family: 4 }])
    else done(null, address, 4)
  }
  dns.lookup = resolver as unknown as typeof dns.lookup
  const link = await startProxy(servers.source)
  const rig = await parentsRig(servers, { through: { source: (url) => link.through(url).replace('127.0.0.1', 'source.rekey.test') } })
  try {
    address = null
    expect(await failureOf(rig.start())).toMatchObject({ code: 'REMOTE', exit: 6, message: expect.stringContaining('ENOTFOUND') as string })
    address = '127.0.0.1'
    await withBridge(rig, async (running) => {
      const restarts = (): number => running.notes.filter(({ event }) => event === 'restart').length
      // Nobody listens at the second address.
      for (const [at, to] of [null, '127.0.0.99', '127.0.0.1'].entries()) {
        const [before, times] = [restarts(), asked]
        address = to
        if (at === 0) link.cut()
        if (to !== '127.0.0.1') await expect.poll(() => restarts() > before && asked > times).toBe(true)
        await rig.source.query(`update parents set name = 'to ${at}' where id = ${at + 1}`)
      }
    })
  } finally {
    dns.lookup = system
    await rig.close()
    await link.close()
  }
})

test('the role of the source may not log in any more, and then it may again', async () => {
  const link = await startProxy(servers.source)
  let role = ''
  const rig = await parentsRig(servers, { through: { source: (url) => {
    role = `role_${new URL(url).pathname.slice(1)}`
    return link.through(as(role)(url))
  } } })
  try {
    await rig.source.query(`create role ${role} login replication; grant create on database "${rig.source.name}" to ${role};
      grant usage on schema public to ${role}; alter table parents owner to ${role}; alter table children owner to ${role}`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`alter role ${role} nologin; update parents set name = 'meanwhile'`)
    link.cut()
    const { code, exit } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'PRIVILEGE', exit: 5 })
    await rig.source.query(`alter role ${role} login; update parents set name = 'after' where id < 4`)
    await withBridge(rig, async () => {})
  } finally {
    await rig.source.query(`drop publication if exists rekey_${rig.config.pipeline}; alter table parents owner to postgres; alter table children owner to postgres; drop owned by ${role}; drop role ${role}`)
    await rig.close()
    await link.close()
  }
})

test('the destination takes no more connections for a while: it is waited for', async () => {
  const link = await startProxy(servers.destination)
  let role = ''
  const rig = await parentsRig(servers, { through: { destination: (url) => {
    role = `role_${new URL(url).pathname.slice(1)}`
    return link.through(as(role)(url))
  } } })
  try {
    await rig.destination.query(`create role ${role} login; grant create on database "${rig.destination.name}" to ${role}; grant all on all tables in schema public to ${role}`)
    const running = rig.start()
    await rig.caughtUp(running)
    await rig.destination.query(`alter role ${role} connection limit 0`)
    link.cut()
    await rig.source.query(`update parents set name = 'meanwhile'`)
    for (const end = Date.now() + 10_000; Date.now() < end && running.notes.filter(({ event }) => event === 'restart').length < 2;) await Promise.race([running.ended, sleep(50)])
    expect(running.notes.some(({ text }) => text.includes('53300'))).toBe(true)
    await rig.destination.query(`alter role ${role} connection limit -1`)
    await rig.caughtUp(running)
    await running.stop()
    expect(await rig.differences()).toEqual([])
  } finally {
    await rig.destination.query(`drop owned by ${role} cascade; drop role ${role}`)
    await rig.close()
    await link.close()
  }
})

/** It shows this certificate from its next start on. */
async function show(name: string, { dataDir }: Server): Promise<void> {
  const { uid, gid } = await stat(dataDir)
  for (const [from, to] of [[`${name}.pem`, 'server.crt'], [`${name}.key`, 'server.key']]) {
    const file = join(dataDir, to)
    await copyFile(certificates.at(from), file)
    await chown(file, uid, gid)
    await chmod(file, 0o600)
  }
}

/** Only by TLS, with a certificate for its address. */
async function tlsServer(): Promise<Server> {
  const server = await startPostgres({ major: 16 })
  await show('server', server)
  const hba = join(server.dataDir, 'pg_hba.conf')
  await writeFile(hba, (await readFile(hba, 'utf8')).replace(/^host\b/gm, 'hostssl'))
  await server.restart({ ssl: 'on' })
  return server
}

const verified = (authority: string, host?: string) => (url: string): string => {
  const changed = new URL(url)
  changed.search = `?sslmode=verify-full&sslrootcert=${encodeURIComponent(authority)}`
  if (host) changed.hostname = host
  return changed.href
}

test('TLS: with the right authority everything goes by it; another one, another name, an expired certificate, and a server without it are refused', async () => {
  const [server, others] = [await tlsServer(), await makeCertificates([])]
  // The test's own connections do not ask who answers.
  const both = { url: (database?: string) => `${server.url(database)}?sslmode=no-verify` }
  const trusting = verified(certificates.at('ca.pem'))
  const rig = await parentsRig({ source: both, destination: both }, { through: { source: trusting, destination: trusting } })
  try {
    const { source, destination } = rig.config
    const refused: readonly (readonly [url: string, message: RegExp, hint: RegExp])[] = [
      [verified(others.at('ca.pem'))(source.url), /authority that is not trusted/, /sslrootcert=/],
      [verified(certificates.at('ca.pem'), 'localhost')(source.url), /for another name/, /Name the server in the URL/],
      [trusting(servers.source.url()), /does not offer TLS/, /Turn `ssl` on/],
    ]
    const none = new AbortController().signal
    for (const [url, message, hint] of refused) {
      for (const side of ['source', 'destination'] as const) {
        const config = { ...rig.config, source, destination, [side]: { ...rig.config[side], url } }
        const error = await failureOf({ ended: run(config, { takeover: false }, { progress: () => {}, note: () => {} }, none).then(() => {}) })
        expect(error).toMatchObject({ code: 'TLS', exit: 5, message: expect.stringMatching(message), hint: expect.stringMatching(hint) })
        expect(error.message).toContain(side)
      }
    }
    expect(await rig.destination.query(`select to_regclass('rekey.checkpoint')::text as made`)).toEqual([{ made: null }])

    const running = rig.start()
    await rig.caughtUp(running)
    await rig.source.query(`update parents set name = 'by TLS'`)
    await rig.caughtUp(running)
    const by = await rig.source.query(`select distinct s.ssl::text from pg_stat_ssl s join pg_stat_activity a using (pid) where a.application_name like 'rekey%'`)
    expect(by).toEqual([{ ssl: 'true' }])
    await show('expired', server)
    await server.restart({ ssl: 'on' })
    expect(await failureOf(running)).toMatchObject({ code: 'TLS', exit: 5, message: expect.stringContaining('has expired'), hint: expect.stringContaining('new certificate') })
    await rig.source.query(`update parents set name = 'meanwhile'`)
    await show('server', server)
    await server.restart({ ssl: 'on' })
    await withBridge(rig, async () => {})
  } finally {
    await rig.close()
    await Promise.all([server.stop(), others.remove()])
  }
})

test.each(['copied', 'streamed'])('a value that the source cannot give as text in UTF-8 is %s: the run stops and says so', async (how) => {
  const rig = await parentsRig(servers, { sourceEncoding: 'SQL_ASCII' })
  const add = `insert into parents values (100, 'fine: ä'), (101, E'not text: \\xff')`
  try {
    if (how === 'copied') await rig.source.query(add)
    const running = rig.start()
    if (how === 'streamed') {
      await rig.caughtUp(running)
      await rig.source.query(add)
    }
    const { code, exit, message } = await failureOf(running)
    expect({ code, exit }).toEqual({ code: 'ENCODING', exit: 5 })
    expect(message).toContain('22021')
    if (how === 'streamed') return
    await rig.source.query(`update parents set name = 'text' where id = 101`)
    await withBridge(rig, async () => {})
    expect(await rig.destination.query(`select name from parents where name like 'fine%'`)).toEqual([{ name: 'fine: ä' }])
  } finally {
    await rig.close()
  }
})
