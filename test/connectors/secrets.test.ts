import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type CommandLine, commandLine, SECRET } from '../support/command-line.ts'
import { freePort } from '../support/free-port.ts'
import { pair } from '../support/servers.ts'

const { source: from, destination: to } = await pair({ source: 16, destination: 16 })
/** In the URLs, as they are written there and decoded; the token; a value of a row. */
const CANARIES = ['canary-of-source%21', 'canary-of-source!', 'canary-of-destination', 'canary-of-the-token', 'canary-of-a-row', SECRET]
let line: CommandLine
let good: string
const file = (): string => join(line.folder, 'rekey.yaml')

beforeAll(async () => {
  line = await commandLine(from, to)
  // The servers ask for no password, and so take any.
  good = (await readFile(file(), 'utf8')).replace('//postgres@', '//postgres:canary-of-source%21@').replace('//postgres@', '//postgres:canary-of-destination@')
    + 'metrics: { listen: "127.0.0.1:0", token: canary-of-the-token }\n'
  expect(good.match(/canary/g)).toHaveLength(3)
  await line.source.query("insert into users (id, email, name, first_name, last_name) values (7, 'canary-of-a-row@lab.test', 'canary-of-a-row', 'C', 'R')")
  await line.destination.query("alter table users add constraint no_canary check (name not like 'canary%')")
})
afterAll(() => line.close())

function clean(texts: readonly string[]): void {
  for (const canary of CANARIES) for (const text of texts) expect(text).not.toContain(canary)
}

it.each([[[]], [['--json']]])('a run tells no secret in its log, its metrics and its health %j', async (more) => {
  await writeFile(file(), good)
  const asked: Promise<string>[] = []
  const ran = await line.rekey(['run', ...more], {
    on(text, signal) {
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0]
      if (url === undefined) return
      const headers = { authorization: 'Bearer canary-of-the-token' }
      const ask = async (path: string): Promise<string> => (await fetch(url + path, { headers })).text()
      // Until the row is parked.
      const parked = async (): Promise<string> => {
        for (;;) {
          const metrics = await ask('/metrics')
          if (/^rekey_parked_rows\{.*\} [1-9]/m.test(metrics)) return metrics
        }
      }
      asked.push(...['/readyz', '/healthz', '/nowhere'].map(ask), parked().finally(signal))
    },
  })
  const told = await Promise.all(asked)
  expect(told).toHaveLength(4)
  expect(ran.exit).toBe(0)
  expect(`${ran.out}${ran.err}`.length).toBeGreaterThan(1_000)
  clean([ran.out, ran.err, ...told])
})

it('errors tell no secret', async () => {
  const closed = await freePort()
  const broken = [
    good.replace(/(canary-of-destination@127\.0\.0\.1:)\d+/, `$1${closed}`),
    good.replace(/(canary-of-source%21@127\.0\.0\.1:\d+\/)\w+/, '$1nowhere'),
    good.replace('127.0.0.1:0', '203.0.113.1:9187'),
    good.replace('token: canary-of-the-token', 'token: "canary of the token"'),
    good.replace('canary-of-source%21@', 'canary-of-source%21@ '),
  ]
  for (const text of broken) {
    await writeFile(file(), text)
    for (const more of [[], ['--json']]) {
      const { exit, out, err } = await line.rekey(['run', ...more])
      expect(exit).toBeGreaterThan(0)
      expect(err.length).toBeGreaterThan(50)
      clean([out, err])
    }
  }
  await writeFile(file(), good)
})
