import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { cli } from '../../src/cli/program.ts'
import type { World } from '../../src/cli/session.ts'

function say(args: readonly string[]): Promise<{ exit: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const never = (): never => { throw new Error('no database is asked here') }
  const world: World = {
    stdout: { write: (text) => { out += text } }, stderr: { write: (text) => { err += text } }, env: {}, version: '1.2.3',
    ask: async () => null, onSignal: () => () => {}, exit: () => {}, run: never, operate: never, look: never, serve: never,
  }
  return cli(args, world).then((exit) => ({ exit, out, err }))
}

const VERBS = ['init', 'check', 'ddl', 'plan', 'run', 'status', 'resolve', 'parked list', 'parked retry', 'parked waive', 'remove', 'objects list', 'objects retry',
  'objects approve', 'objects verify', 'objects manifest']
const WRONG = [
  ['rnu'], ['status', '--nope'], ['resolve'], ['parked', 'waive', '3'], ['parked', 'list', '--limit', '0'], ['parked', 'retry', 'x'],
  ['status', 'more'], ['objects', 'list', '--state', 'lost'], ['objects', 'retry'], ['objects', 'retry', '7', '--all'], ['objects', 'verify', '--level', '4'],
  ['run', '--role', 'boss'],
]

describe('the command line', () => {
  it('prints its help when nothing is asked', async () => {
    const bare = await say([])
    expect(bare).toMatchObject({ exit: 0, err: '' })
    for (const name of VERBS) expect(bare.out).toMatch(new RegExp(`^  ${name.split(' ')[0]}\\b`, 'm'))
    expect(bare.out).toContain('Exit codes:')
    expect(await say(['parked'])).toMatchObject({ exit: 0, err: '', out: expect.stringContaining('waive') })
    expect(await say(['--version'])).toEqual({ exit: 0, out: '1.2.3\n', err: '' })
  })

  it.each(VERBS)('%s has help with examples', async (name) => {
    const { exit, out, err } = await say([...name.split(' '), '--help'])
    expect({ exit, err }).toEqual({ exit: 0, err: '' })
    expect(out).toContain(`Usage: rekey ${name}`)
    expect(out).toContain(`\n  $ rekey ${name}`)
    expect(out).toContain('--json')
  })

  it.each(WRONG.map((args) => ({ args })))('refuses $args with exit code 2, before anything is opened', async ({ args }) => {
    const text = await say(args)
    expect(text).toMatchObject({ exit: 2, out: '' })
    expect(text.err).toMatch(/^rekey: USAGE\n {2}.+\n(.*\n)*What to do: .+\n$/)
    const json = await say([...args, '--json'])
    expect(json).toMatchObject({ exit: 2, out: '' })
    expect(Object.keys(JSON.parse(json.err).error)).toEqual(['code', 'message', 'hint', 'sqlstate'])
  })

  it('names the configuration that it cannot read', async () => {
    const { exit, err } = await say(['status', '--config', '/nowhere/rekey.yaml'])
    expect(exit).toBe(2)
    expect(err).toContain('/nowhere/rekey.yaml')
  })
})

it('starts in Node itself, whose modules are stricter than those of the test runner', () => {
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', '--version'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
