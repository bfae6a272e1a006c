import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createDatabase } from '../support/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { childrenOf } from '../support/processes.ts'

/**
 * `npm run soak:memory`: one source transaction of five million rows, then a destination that stands still for a minute while the source
 * goes on. The bridge's peak memory (VmHWM) must stay under the limit, and every row must arrive.
 */
const LIMIT_MIB = 300
const { values } = parseArgs({ options: { rows: { type: 'string', default: '5000000' }, seconds: { type: 'string', default: '60' },
  checks: { type: 'string', default: 'engine' } } })
const rows = Number(values.rows)
const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url))

const TABLES = (key: string): string => `
create table parents (id ${key} primary key, name text not null);
create table children (id ${key} primary key, parent_id ${key} not null references parents, note text not null);
create index on children (parent_id);`

const MAPPING = `
application: memory
contexts: [{ name: all, tables: [parents, children] }]
entities: { parents: { prefix: par }, children: { prefix: chi } }
`

const source = await startPostgres({ major: 16, settings: { max_wal_size: '4GB' } })
const destination = await startPostgres({ major: 18, settings: { max_wal_size: '4GB' } })
const folder = await mkdtemp(join(tmpdir(), 'rekey-memory-'))
let ok = false
try {
  const [from, to] = [await createDatabase(source), await createDatabase(destination)]
  await from.query(TABLES('bigint'))
  await to.query(TABLES('text collate "C"'))
  await from.query("insert into parents select i, 'p' from generate_series(1, 1000) i")
  await mkdir(join(folder, 'mapping'))
  await writeFile(join(folder, 'mapping/mapping.yaml'), MAPPING)
  const config = join(folder, 'rekey.yaml')
  await writeFile(config, JSON.stringify({
    pipeline: 'memory', deployment: 'test', secret: 'not-a-secret-at-all', mapping: 'mapping', source: { url: from.url },
    destination: { url: to.url },
    retain: '0s', checks: values.checks,
  }))
  const bridge = spawn(process.execPath, [CLI, 'run', '--config', config, '--json'], { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = new Promise<number>((resolve) => bridge.on('close', (code) => resolve(code ?? 1)))
  const peak = async (): Promise<number> => Math.round(Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${bridge.pid}/status`,
    'utf8'))![1]) / 1024)
  const count = async (): Promise<number> => Number((await to.query('select count(*)::text as n from children'))[0].n)
  const arrive = async (expected: number, what: string): Promise<void> => {
    const began = performance.now()
    while ((await count()) < expected) await sleep(1_000)
    console.log(`${what}: ${expected} rows there after ${Math.round((performance.now() - began) / 1000)} s, peak ${await peak()} MiB`)
  }
  await sleep(5_000)
  await from.query(`insert into children select i, 1 + i % 1000, 'note number ' || i || repeat(' and more', 10) from generate_series(1, ${rows}) i`)
  await arrive(rows, 'one transaction')
  const backends = childrenOf(destination.pid)
  for (const pid of backends) process.kill(pid, 'SIGSTOP')
  const until = performance.now() + Number(values.seconds) * 1_000
  let more = 0
  while (performance.now() < until) {
    await from.query(`insert into children select ${rows + more} + i, 1 + i % 1000, repeat('while it stands still ', 20) from generate_series(1, 1000) i`)
    more += 1_000
    await sleep(20)
  }
  for (const pid of backends) process.kill(pid, 'SIGCONT')
  await arrive(rows + more, `after ${values.seconds} s of a destination that stands still`)
  const most = await peak()
  bridge.kill('SIGTERM')
  const code = await ended
  ok = code === 0 && most < LIMIT_MIB
  console.log(`${ok ? 'passed' : 'FAILED'}: peak ${most} MiB of ${LIMIT_MIB}, exit code ${code}`)
} finally {
  await source.stop()
  await destination.stop()
  await rm(folder, { recursive: true, force: true })
}
process.exitCode = ok ? 0 : 1
