import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { folderStore } from '../../connectors/folder/store.ts'
import type { ObjectStore } from '../../src/ports.ts'
import { merkleTree } from '../../src/mirror/manifest.ts'
import { type CommandLine, commandLine } from '../support/command-line.ts'
import { content, target } from '../support/objects.ts'
import { pair } from '../support/servers.ts'

const { source: from, destination: to } = await pair({ source: 16, destination: 17 })
let line: CommandLine
let here: ObjectStore
let there: ObjectStore

beforeAll(async () => {
  line = await commandLine(from, to)
  here = folderStore(join(line.folder, 'old-files'))
  there = folderStore(join(line.folder, 'new-files'))
  await line.source.query(`insert into products values (1, 'p'); insert into projects (id, name, owner_id, product_id) values (5, 'study', 2, 1);
    insert into nodes (id, project_id, label) values (41, 5, 'n');
    insert into files (path, project_id, node_id, owner_id, size, etag) select '5/41/f' || i, 5, 41, 2, 6, 'e' from generate_series(1, 5) i;
    insert into files (path, project_id, node_id, owner_id, size) values ('5/41/not-uploaded', 5, 41, 2, 9)`)
  for (let i = 1; i <= 4; i++) await here.put(target(`5/41/f${i}`), content(Buffer.from(`text ${i}`)))
}, 120_000)
afterAll(() => line.close())

/** Runs until no job waits. */
async function run(...more: string[]): Promise<{ exit: number; lines: any[] }> {
  const lines: any[] = []
  const { exit } = await line.rekey(['run', '--json', ...more], {
    on(text, signal) {
      for (const one of text.split('\n').filter((l) => l !== '')) lines.push(JSON.parse(one))
      const { phase, objects } = lines.at(-1)
      if ((phase === 'stream' || phase === 'mirror') && objects?.total > 0 && objects.waiting === 0) signal()
    },
  })
  return { exit, lines }
}

describe('rekey objects', () => {
  it('before anything: nothing is listed, stores are checked and nothing is left in them, the plan counts', async () => {
    expect(await line.json(['objects', 'list'])).toMatchObject({ total: 0, jobs: [], totals: { total: 0 } })
    const findings = (await line.json(['check'])).findings.filter((f: { group: string }) => f.group === 'objects')
    expect(findings).toEqual([])
    for await (const page of there.list('', null)) expect(page).toEqual([])
    const plan = await line.json(['plan', '--out', line.folder, '--force'])
    expect(plan.objects).toMatchObject({
      objects: 5, directories: 0, bytes: 30, sampled: { objects: 5, missing: 1 }, faults: { UNMATCHED: { objects: 0 },
        UNRESOLVED: { objects: 0 } },
    })
    expect(plan.objects.longestKey).toBe('prj_'.length + 26 + 1 + 'nod_'.length + 26 + '/f1'.length)
  })

  it('a run carries them, and its progress, summary and status say so', async () => {
    const { exit, lines } = await run()
    expect(exit).toBe(0)
    const progress = lines.filter(({ type, objects }) => type === 'progress' && objects).at(-1)
    expect(progress.objects).toMatchObject({ total: 5, done: 4, waiting: 0, parked: 1, leaving: 0 })
    expect(lines.at(-1)).toMatchObject({ type: 'summary', objects: { total: 5, done: 4, parked: 1 } })
    const status = await line.json(['status'])
    expect(status.objects).toMatchObject({ total: 5, done: 4, waiting: 0, parked: 1, states: { verified: { objects: 4, bytes: 24 } } })
    expect((await line.rekey(['status'])).out).toContain('objects   4 of 5')
  }, 60_000)

  it('lists them, by state', async () => {
    const list = await line.json(['objects', 'list', '--state', 'parked'])
    expect(list).toMatchObject({ total: 1, jobs: [{ key: '5/41/f5', state: 'parked', error: 'OBJECT_MISSING', table: 'public.files',
      store: 'main', to: 'main' }] })
    const { out } = await line.rekey(['objects', 'list', '--limit', '2'])
    expect(out).toContain('objects 4 of 5')
    expect(out).toContain('main/5/41/f1')
    expect(out).toContain('and 3 more')
  })

  it('has one that came late copied, also by workers alone', async () => {
    await here.put(target('5/41/f5'), content(Buffer.from('text 5')))
    const [{ id }] = (await line.json(['objects', 'list', '--state', 'parked'])).jobs
    expect(await line.rekey(['objects', 'retry', '99999', '--json'])).toMatchObject({ exit: 4, out: '{"changed":[],"left":["99999"]}\n' })
    expect(await line.json(['objects', 'retry', id])).toEqual({ changed: [id], left: [] })
    const { exit, lines } = await run('--role', 'mirror')
    expect([exit, lines.at(-1).objects]).toEqual([0, expect.objectContaining({ done: 5, parked: 0 })])
  }, 60_000)

  it('checks the copies at each level, and finds what was changed or lost', async () => {
    for (const level of ['1', '2', '3']) {
      expect(await line.rekey(['objects', 'verify', '--level', level, '--json'])).toMatchObject({ exit: 0,
        out: `{"level":${level},"objects":5,"bytes":30,"problems":[]}\n` })
    }
    const { jobs } = await line.json(['objects', 'list'])
    const key = (old: string): string => jobs.find((job: { key: string }) => job.key === old).newKey
    await there.put(target(key('5/41/f1')), content(Buffer.from('other!')))
    await there.remove(key('5/41/f2'), (await there.head({ key: key('5/41/f2'), version: null }))!.etag)
    await here.put(target('5/41/f3'), content(Buffer.from('newer!')))
    const { exit, out } = await line.rekey(['objects', 'verify', '--json'])
    const problems = JSON.parse(out).problems.map((p: { key: string; problem: string }) => `${p.key} ${p.problem}`).sort()
    expect([exit, problems]).toEqual([4, ['5/41/f1 CHANGED', '5/41/f2 MISSING', '5/41/f3 SOURCE_CHANGED']])
    expect((await line.rekey(['objects', 'verify', '--level', '1'])).out).toContain('2 problems')
  })

  it('writes a manifest whose root is that of its lines', async () => {
    const file = join(line.folder, 'objects.ndjson')
    const answer = await line.json(['objects', 'manifest', '--out', file])
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n')
    const { root, objects, bytes } = JSON.parse(lines.pop()!)
    const tree = merkleTree()
    for (const one of lines) tree.add(one)
    expect({ root, objects, bytes }).toEqual({ root: tree.root(), objects: 5, bytes: 30 })
    expect(answer).toMatchObject({ file, root, objects: 5, bytes: 30 })
    expect(JSON.parse(lines[0])).toMatchObject({ store: 'main', size: 6, algorithm: 'sha256',
      checksum: expect.stringMatching(/^[0-9a-f]{64}$/), evidence: 2 })
    const keys = lines.map((one): Buffer => Buffer.from(JSON.parse(one).newKey))
    expect(keys.every((key, i) => i === 0 || Buffer.compare(keys[i - 1], key) < 0)).toBe(true)
    expect((await line.rekey(['objects', 'manifest'])).out.trimEnd().split('\n')).toHaveLength(6)
  })

  it('agrees to removals only when a person says so', async () => {
    await line.destination.query("update rekey.object set state = 'tombstone', buried_at = clock_timestamp() where src_key = '5/41/f4'")
    expect((await line.rekey(['objects', 'approve'], { answer: 'no' })).exit).toBe(2)
    expect(await line.json(['objects', 'approve', '--yes'])).toEqual({ approved: 1 })
    expect(await line.json(['objects', 'approve', '--yes'])).toEqual({ approved: 0 })
  })
})

describe('merkleTree', () => {
  const sha = (...parts: Buffer[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
  const leaf = (text: string): Buffer => sha(Buffer.from([0]), Buffer.from(text))
  const node = (left: Buffer, right: Buffer): Buffer => sha(Buffer.from([1]), left, right)
  /** RFC 6962, 2.1, as it is written there. */
  const root = (lines: readonly string[]): Buffer => {
    if (lines.length === 0) return sha()
    if (lines.length === 1) return leaf(lines[0])
    const k = 2 ** Math.floor(Math.log2(lines.length - 1))
    return node(root(lines.slice(0, k)), root(lines.slice(k)))
  }

  it('is the tree of RFC 6962', () => {
    for (let n = 0; n < 40; n++) {
      const lines = Array.from({ length: n }, (_, i) => `line ${i}`)
      const tree = merkleTree()
      for (const one of lines) tree.add(one)
      expect([n, tree.root()]).toEqual([n, root(lines).toString('hex')])
    }
  })
})
