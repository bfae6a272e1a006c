import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { atExit } from '../support/at-exit.ts'
import { composeFile, interpolated, ROOT } from '../support/compose.ts'
import { createDatabase, type Database } from '../support/database.ts'
import { freePort } from '../support/free-port.ts'
import { pair } from '../support/servers.ts'
import { startRedis } from '../support/services/redis.ts'

const { source, destination } = await pair({ source: 17, destination: 17 })
const compose = composeFile()

/** Runs what the image of Postgres runs when its volume is empty. */
async function prepared(database: Database, service: string): Promise<Database> {
  for (const [from, to] of (compose.services[service].volumes ?? []).map((text) => text.split(':'))) {
    if (to.startsWith('/docker-entrypoint-initdb.d/')) await database.query(readFileSync(path.join(ROOT, from), 'utf8'))
  }
  return database
}

function program(args: readonly string[], options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv }) {
  const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  const release = atExit(() => void child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => { said += chunk.toString() })
  const ended = new Promise<{ code: number | null; said: string }>((resolve) => child.on('close', (code) => {
    release()
    resolve({ code, said })
  }))
  return { ended, kill: () => child.kill('SIGTERM') }
}

test('what docker-compose.yml starts carries its rows, tells its health, and ends cleanly', async () => {
  const [from, to] = [await prepared(await createDatabase(source), 'source'), await prepared(await createDatabase(destination), 'destination')]
  const redis = await startRedis()
  const folder = await mkdtemp(path.join(tmpdir(), 'rekey-compose-'))
  const port = await freePort()
  const service = compose.services['rekey']
  const set = Object.fromEntries(Object.entries(service.environment ?? {}).map(([name, text]) => [name, interpolated(text)]))
  const env = { ...process.env, ...set, SOURCE_URL: from.url, DESTINATION_URL: to.url, REDIS_URL: redis.url }
  const config = readFileSync(path.join(ROOT, 'compose', 'rekey.yaml'), 'utf8')
    .replace('/opt/rekey/mappings/demo', path.join(ROOT, 'mappings', 'demo')).replace('0.0.0.0:9187', `127.0.0.1:${port}`)
  await writeFile(path.join(folder, 'rekey.yaml'), config)

  const main = ['--import', import.meta.resolve('tsx'), path.join(ROOT, 'src', 'cli', 'main.ts')]
  const rekey = program([...main, ...(service.command ?? [])], { cwd: folder, env })
  const users = () => to.query('select count(*) as n from users').then((rows) => rows[0].n)
  await Promise.race([rekey.ended.then(({ said }) => { throw new Error(said) }), expect.poll(users, { timeout: 30_000 }).toBe('1000')])
  await from.query("insert into users (email, name) values ('late@example.org', 'late')")
  await expect.poll(users, { timeout: 20_000 }).toBe('1001')
  expect(await to.query("select id, name from users where email = 'USER7@example.org'")).toEqual([{ id: 'usr_theirs', name: 'seventh' }])

  const [, node, ...rest] = (service.healthcheck?.test ?? []).map((text) => interpolated(text).replace('127.0.0.1:9187', `127.0.0.1:${port}`))
  expect(node).toBe('node')
  expect(await program(rest, { cwd: folder, env }).ended).toEqual({ code: 0, said: '' })
  expect((await program(rest, { cwd: folder, env: { ...env, METRICS_TOKEN: 'wrong' } }).ended).code).toBe(1)

  rekey.kill()
  expect((await rekey.ended).code).toBe(0)
  expect((await program(rest, { cwd: folder, env }).ended).code).toBe(1)
  await program([...main, 'remove', '--yes'], { cwd: folder, env }).ended
  await redis.stop()
  await rm(folder, { recursive: true })
})
