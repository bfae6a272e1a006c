import { existsSync } from 'node:fs'
import { request } from 'node:http'
import os from 'node:os'
import path from 'node:path'

/** How services run: in containers, or as plain processes. */
export type Way = 'containers' | 'processes'

/** The environment variable that forces a way; a run also hands its decision to its workers in it. */
export const SWITCH = 'REKEY_TEST_SERVICES'

/** A hanging engine must not hold up a test run. */
const PING_WITHIN_MS = 700

export interface Decision {
  readonly way: Way
  /** Why, for people. */
  readonly because: string
}

export interface Engine {
  readonly answers: boolean
  /** Where it was looked for. */
  readonly at: string
}

let decided: Promise<Way> | null = null

/** The way of this process, decided at the first call. */
export function way(): Promise<Way> {
  decided ??= decide().then((decision) => decision.way)
  return decided
}

export async function decide(): Promise<Decision> {
  return chooseWay(process.env[SWITCH], await engine())
}

/** Throws when the switch says something else than a way, or asks for containers where no engine answers. */
export function chooseWay(forced: string | undefined, { answers, at }: Engine): Decision {
  const found = answers ? `a container engine answers at ${at}` : `no container engine answers at ${at}`
  if (forced === undefined || forced === '') return { way: answers ? 'containers' : 'processes', because: found }
  if (forced !== 'containers' && forced !== 'processes') {
    throw new Error(`${SWITCH} is "${forced}", and must be containers or processes. Run: unset ${SWITCH}`)
  }
  if (forced === 'containers' && !answers) throw new Error(`${SWITCH} asks for containers, and ${found}. Run: unset ${SWITCH}`)
  return { way: forced, because: `${SWITCH}=${forced}` }
}

/** Asks each place where an engine may listen for `GET /_ping`. An engine that wants TLS counts as one that does not answer. */
export async function engine(environment = process.env): Promise<Engine> {
  const places = enginePlaces(environment)
  for (const at of places) if (await pongs(at)) return { answers: true, at }
  return { answers: false, at: places.join(' or ') }
}

/** DOCKER_HOST alone if it is set, else the sockets of a system-wide, a rootless and a desktop engine. */
export function enginePlaces(environment: Readonly<Record<string, string | undefined>>): string[] {
  const named = environment['DOCKER_HOST']
  if (named) return [named]
  if (process.platform === 'win32') return ['npipe:////./pipe/docker_engine']
  const runtime = environment['XDG_RUNTIME_DIR']
  const rootless = runtime ? [path.join(runtime, 'docker.sock')] : []
  return ['/var/run/docker.sock', ...rootless, path.join(os.homedir(), '.docker', 'run', 'docker.sock')].map((file) => `unix://${file}`)
}

function pongs(place: string): Promise<boolean> {
  const socketPath = /^(?:unix|npipe):\/\/(.+)$/.exec(place)?.[1]
  const tcp = /^(?:tcp|http):\/\/([^:/]+|\[[^\]]+\])(?::(\d+))?\/?$/.exec(place)
  if (socketPath === undefined && tcp === null) return Promise.resolve(false)
  if (socketPath !== undefined && process.platform !== 'win32' && !existsSync(socketPath)) return Promise.resolve(false)
  const to = tcp ? { host: tcp[1].replace(/^\[|\]$/g, ''), port: Number(tcp[2] ?? 2375) } : { socketPath }
  return new Promise((resolve) => {
    const asked = request({ ...to, path: '/_ping', signal: AbortSignal.timeout(PING_WITHIN_MS) }, (answer) => {
      resolve(answer.statusCode === 200)
      answer.destroy()
    })
    asked.once('error', () => resolve(false)).end()
  })
}
