import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, expect, test } from 'vitest'
import { atExit } from '../support/at-exit.ts'
import { composeFile, environmentOf, interpolated, roles, ROOT } from '../support/compose.ts'
import { createDatabase, type Database } from '../support/database.ts'
import { freePort } from '../support/free-port.ts'
import { pair } from '../support/servers.ts'
import { startKafka } from '../support/services/kafka.ts'
import { startRedis } from '../support/services/redis.ts'
import { startS3 } from '../support/services/s3.ts'

const compose = composeFile()
const [{ source, destination }, kafka, redis, s3] = await Promise.all([
  pair({ source: 17, destination: 17 }), startKafka(), startRedis(), startS3(),
])
const folder = await mkdtemp(path.join(tmpdir(), 'rekey-compose-'))
afterAll(async () => {
  await Promise.all([kafka.stop(), redis.stop(), s3.stop()])
  await rm(folder, { recursive: true })
})

/** Runs what the image of Postgres runs when its volume is empty. */
async function prepared(database: Database, service: string): Promise<Database> {
  for (const [from, to] of (compose.services[service].volumes ?? []).map((text) => text.split(':'))) {
    if (to.startsWith('/docker-entrypoint-initdb.d/')) await database.query(readFileSync(path.join(ROOT, from), 'utf8'))
  }
  return database
}

interface Place {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
}

function started(command: string, args: readonly string[], place: Place) {
  const child = spawn(command, args, { ...place, stdio: ['ignore', 'ignore', 'pipe'] })
  const release = atExit(() => void child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => { said += chunk.toString() })
  const ended = new Promise<{ code: number | null; said: string }>((resolve) => child.on('close', (code) => {
    release()
    resolve({ code, said })
  }))
  return { ended, kill: () => child.kill('SIGTERM') }
}

const program = (args: readonly string[], place: Place) => started(process.execPath, args, place)

const REKEY = ['--import', import.meta.resolve('tsx'), path.join(ROOT, 'src', 'cli', 'main.ts')]

/** The container of a role: its working folder, and the port where it tells its health. */
async function container(role: string, env: NodeJS.ProcessEnv): Promise<Place & { readonly port: number }> {
  const cwd = path.join(folder, role)
  const port = await freePort()
  await mkdir(cwd)
  await symlink(path.join(ROOT, 'compose', 'mapping'), path.join(cwd, 'mapping'))
  const config = readFileSync(path.join(ROOT, 'compose', 'rekey.yaml'), 'utf8').replace('0.0.0.0:9187', `127.0.0.1:${port}`)
  await writeFile(path.join(cwd, 'rekey.yaml'), config)
  return { cwd, env, port }
}

test('what docker-compose.yml starts carries rows and objects, tells its health, and ends cleanly', async () => {
  const from = await prepared(await createDatabase(source), 'source')
  const to = await prepared(await createDatabase(destination), 'destination')
  const servers = {
    SOURCE_URL: from.url, DESTINATION_URL: to.url, KAFKA_BROKER: kafka.bootstrap, REDIS_URL: redis.url, S3_URL: s3.url,
    S3_ACCESS_KEY: s3.credentials.accessKeyId, S3_SECRET_KEY: s3.credentials.secretAccessKey,
  }
  const files = compose.services['files']
  const put = { cwd: ROOT, env: { ...process.env, ...environmentOf(files), ...servers, NODE_NO_WARNINGS: '1' } }
  for (let times = 0; times < 2; times++) expect(await program(['compose/put-files.mjs'], put).ended).toEqual({ code: 0, said: '' })

  const running = await Promise.all(roles(compose).map(async ([role, service]) => {
    const place = await container(role, { ...process.env, ...environmentOf(service), ...servers })
    return { role, service, place, rekey: program([...REKEY, ...(service.command ?? [])], place) }
  }))
  const early = Promise.race(running.map(({ rekey, role }) => rekey.ended.then(({ said }) => { throw new Error(`${role}: ${said}`) })))
  const number = (sql: string) => () => to.query(sql).then(([{ n }]) => Number(n), () => null)
  const becomes = (sql: string, n: number) => Promise.race([early, expect.poll(number(sql)).toBe(n)])
  await becomes('select count(*) as n from projects', 3_001)
  await from.query("insert into users (email, name) values ('late@example.org', 'late')")
  await becomes("select count(*) as n from users where name = 'late'", 1)
  await becomes("select count(*) as n from rekey.object where state = 'verified'", 50)

  const [{ path: key }] = await to.query("select path from files join projects p on p.id = project_id where p.name = 'project 17'")
  const client = new S3Client({ endpoint: s3.url, region: s3.region, credentials: s3.credentials, forcePathStyle: true })
  const object = await client.send(new GetObjectCommand({ Bucket: 'destination', Key: key! }))
  expect(await object.Body?.transformToString()).toContain('The report of project 17.')
  const merged = await to.query("select id, name from users where lower(email) = 'user7@example.org'")
  expect(merged).toEqual([{ id: 'usr_theirs', name: 'Seventh' }])

  const health = (one: typeof running[number], env: NodeJS.ProcessEnv = {}) => {
    const port = String(one.place.port)
    const [kind, line] = (one.service.healthcheck?.test ?? []).map((text) => interpolated(text).replace('9187', port))
    expect(kind).toBe('CMD-SHELL')
    return started('sh', ['-c', line], { ...one.place, env: { ...one.place.env, ...env } }).ended
  }
  expect(await Promise.all(running.map((one) => health(one)))).toEqual(running.map(() => ({ code: 0, said: '' })))
  expect((await health(running[0], { METRICS_TOKEN: 'wrong' })).code).toBe(1)
  early.catch(() => {})
  for (const { rekey } of running) rekey.kill()
  expect(await Promise.all(running.map(({ rekey }) => rekey.ended))).toMatchObject(running.map(() => ({ code: 0 })))
  expect((await health(running[0])).code).toBe(1)
  await program([...REKEY, 'remove', '--yes'], running[0].place).ended
})
