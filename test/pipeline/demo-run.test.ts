import { spawn, type ChildProcess } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import type { Result } from '../../demo/story.ts'
import { chooseMajors } from '../../demo/stage.ts'
import { skippedOf } from '../../src/core/totals.ts'
import { baseFolder } from '../support/binaries.ts'
import { allGone, childrenOf } from '../support/processes.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const started = new Set<ChildProcess>()

afterEach(() => {
  for (const child of started) child.kill('SIGKILL')
  started.clear()
})

interface Played {
  readonly child: ChildProcess
  readonly said: { stdout: string; stderr: string }
  readonly code: Promise<number | null>
}

/** Runs the demo as a process of its own, without the wrapper of npm, so that its id is known. */
function play(...options: string[]): Played {
  const child = spawn(process.execPath, ['--import', 'tsx', 'demo/main.ts', ...options], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  started.add(child)
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (said.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said.stderr += chunk.toString()))
  return { child, said, code: new Promise((resolve) => child.on('close', resolve)) }
}

/** Folders that this demo made; those of others are none of our business. */
async function foldersOf({ child }: Played): Promise<string[]> {
  return (await readdir(await baseFolder())).filter((name) => name.startsWith('data-') && name.split('-').includes(String(child.pid)))
}

async function said(demo: Played, text: string): Promise<void> {
  for (const end = Date.now() + 40_000; !demo.said.stderr.includes(text) && Date.now() < end;) await new Promise((resolve) =>
    setTimeout(resolve, 20))
  expect(demo.said.stderr).toContain(text)
}

test('the demo proves itself, and leaves nothing', async () => {
  const demo = play('--json', '--scale', '0.1', '--seconds', '3')
  await said(demo, 'rekey run')
  const servers = childrenOf(demo.child.pid!)
  expect(servers.length).toBeGreaterThanOrEqual(2)
  expect([await demo.code, demo.said.stderr]).toEqual([0, expect.stringContaining('Everything arrived')])
  const result = JSON.parse(demo.said.stdout.trimEnd().split('\n').at(-1)!) as Result
  expect(result).toMatchObject({ ok: true, equal: true, closes: true,
    proof: { differences: [], touched: [], strays: {}, wrongPeople: [] } })
  for (const [table, t] of Object.entries(result.tables)) {
    expect([table, t.inserted + t.updated + t.merged + t.deleted + skippedOf(t) + t.parked, 0]).toEqual([table, t.read, t.parked])
  }
  expect(Object.keys(result.tables)).toHaveLength(12)
  expect(result.totals.merged).toBeGreaterThan(0)
  expect(result.written.source.rows).toBeGreaterThan(300)
  expect(result.written.destination.rows).toBeGreaterThan(30)
  expect(result.majors.source).not.toBe(result.majors.destination)
  await allGone(servers)
  expect(await foldersOf(demo)).toEqual([])
}, 120_000)

test('SIGINT in the middle cleans up', async () => {
  const demo = play('--json', '--scale', '0.1', '--seconds', '30')
  await said(demo, 'streaming')
  const servers = childrenOf(demo.child.pid!)
  demo.child.kill('SIGINT')
  expect(await demo.code).toBe(130)
  expect(demo.said.stdout).toBe('')
  await allGone(servers)
  expect(await foldersOf(demo)).toEqual([])
}, 120_000)

test('SIGTERM while the servers start cleans up', async () => {
  const demo = play('--json', '--scale', '0.1')
  await said(demo, 'Two servers start')
  demo.child.kill('SIGTERM')
  expect(await demo.code).toBe(130)
  expect(await foldersOf(demo)).toEqual([])
}, 120_000)

test('a mistyped option is told, with the options there are', async () => {
  const demo = play('--scale', 'big')
  expect(await demo.code).toBe(2)
  expect(demo.said.stderr).toContain('--scale: expected a number')
  expect(demo.said.stderr).toContain('--keep')
})

test('two majors where there are two, else what is installed', () => {
  expect(chooseMajors([14, 15, 16, 17, 18])).toEqual({ source: 15, destination: 18 })
  expect(chooseMajors([16, 17])).toEqual({ source: 16, destination: 17 })
  expect(chooseMajors([17])).toEqual({ source: 17, destination: 17 })
  expect(() => chooseMajors([])).toThrow('npm ci')
})
