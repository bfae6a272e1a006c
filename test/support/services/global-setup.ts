import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { TestProject } from 'vitest/node'
import { say } from './fetched.ts'
import { connectJars } from './connect.ts'
import { kafkaJars } from './kafka.ts'
import { moto } from './moto.ts'
import { prometheusPrograms } from './prometheus.ts'
import { redisServer } from './redis.ts'
import { versitygw } from './s3.ts'
import { decide, SWITCH } from './way.ts'

/** How to get what each module of this folder starts. */
const SOURCES: Readonly<Record<string, () => Promise<unknown>>> = {
  'connect.ts': connectJars,
  'kafka.ts': kafkaJars,
  'moto.ts': moto,
  'prometheus.ts': prometheusPrograms,
  'redis.ts': redisServer,
  's3.ts': versitygw,
}

/** What is a process in both ways. */
const ALWAYS = new Set(['connect.ts'])

/**
 * Before the tests: decides once how services run, says so, and fetches what the chosen test files need, so that no test waits for a
 * download. Test files that need no service pass without a word and without the network. Nothing is started here.
 */
export default async function setup(project: TestProject): Promise<void> {
  const wanted = servicesOf(project.vitest.state.getPaths())
  if (wanted.length === 0) return
  const { way, because } = await decide()
  process.env[SWITCH] = way
  say(`services run ${way === 'containers' ? 'in containers' : 'as processes of their own'}: ${because}`)
  const fetching = way === 'containers' ? wanted.filter((module) => ALWAYS.has(module)) : wanted
  const got = await Promise.allSettled(fetching.map(async (module) => SOURCES[module]()))
  const failures = got.filter((one) => one.status === 'rejected').map((one) => one.reason as Error)
  if (failures.length > 0) throw new AggregateError(failures, failures.map(({ message }) => message).join('\n'))
}

const IMPORTS = /\b(?:import|export)\b\s*(type\s)?(?:[^'"]*?\sfrom\s+|\(|)'(\.[^']+)'/g

/** The modules of this folder that these files import, themselves or through others, and that need something fetched. */
export function servicesOf(files: readonly string[]): string[] {
  const seen = new Set<string>()
  const visit = (file: string): void => {
    if (seen.has(file) || !existsSync(file)) return
    seen.add(file)
    for (const [, onlyTypes, to] of readFileSync(file, 'utf8').matchAll(IMPORTS)) {
      if (onlyTypes === undefined) visit(path.resolve(path.dirname(file), to))
    }
  }
  files.forEach(visit)
  return Object.keys(SOURCES).filter((module) => seen.has(path.join(import.meta.dirname, module)))
}
