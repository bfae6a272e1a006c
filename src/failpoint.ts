import { RekeyError } from './core/errors.ts'

/** A named place between two effects: awaited there, so that a test can stop the process exactly between them. */
export type Point = (name: string) => Promise<void>

const ACTIONS = ['kill', 'error', 'hang'] as const

interface Failpoint {
  readonly action: (typeof ACTIONS)[number]
  readonly at: number
  passed: number
}

/**
 * Places where this process fails on purpose, from text such as `apply.begin=kill@3,snap.chunk_read=error`: at the n-th passage (the first
 * by default) the process kills itself as a crash would, throws REMOTE, or never goes on. Without text nothing happens anywhere.
 */
export function failpoints(text: string | undefined): Point {
  if (!text) return async () => {}
  const points = new Map(text.split(',').map((one) => parse(one.trim())))
  return async (name) => {
    const point = points.get(name)
    if (!point || ++point.passed !== point.at) return
    if (point.action === 'kill') process.kill(process.pid, 'SIGKILL')
    if (point.action === 'error') throw new RekeyError('REMOTE', `failpoint ${name}`)
    await new Promise(() => {})
  }
}

function parse(text: string): [string, Failpoint] {
  const [, name, action, at] = /^([\w.]+)=([a-z]+)(?:@([1-9]\d{0,6}))?$/.exec(text) ?? []
  const known = ACTIONS.find((one) => one === action)
  if (!name || !known) throw new RekeyError('USAGE', 'REKEY_FAILPOINTS is a list of name=kill|error|hang@n')
  return [name, { action: known, at: Number(at ?? 1), passed: 0 }]
}
