import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { stringify } from 'yaml'
import { CLI, configOf, launch, MAPPING, PROFILES } from '../rekey.ts'
import { until } from '../sql.ts'
import type { Field, Half, Mover, Trial } from './mover.ts'

/** rekey's two roles as two processes, with the id map in Redis before the ledger. Keys are rewritten and foreign keys checked. */
export function rekeyRoles({ place, kafka, redis }: Field, options: { readonly profile: boolean }): Mover {
  const start = async (role: 'capture' | 'deliver', { phase, prefix, database }: Trial): Promise<Half & { readonly log: string }> => {
    const folder = path.join(place.folder, `${prefix}_${role}`)
    await mkdir(path.join(folder, 'mapping'), { recursive: true })
    const ends = { source: place.source.url(phase.subject.database), destination: place.destination.url(database) }
    const config = {
      ...configOf({ phase: phase.name, ...ends }, { checks: 'set', indexes: 'keep' }), log: 'kafka', kafka: { brokers: [kafka.bootstrap], prefix },
      idMap: 'redis', redis: { url: redis.url, prefix },
    }
    await writeFile(path.join(folder, 'rekey.yaml'), stringify(config))
    await writeFile(path.join(folder, 'mapping/mapping.yaml'), stringify(MAPPING))
    const log = path.join(folder, 'rekey.log')
    const profile = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`, `--cpu-prof-name=${prefix}-${role}.cpuprofile`] : []
    const running = launch([...profile, CLI, 'run', '--role', role, '--config', path.join(folder, 'rekey.yaml'), '--json'],
      { log, pipeline: config.pipeline })
    return { pids: { [role]: running.pids[0] }, failure: async () => running.failure(), stop: running.stop, log }
  }
  return {
    name: 'rekey', start: 'rekey',
    topics: (prefix) => [`${prefix}.changes`],
    capture: (trial) => start('capture', trial),
    async deliver(trial) {
      const half = await start('deliver', trial)
      await until('rekey delivers', async () => {
        const failed = await half.failure()
        if (failed !== null) throw new Error(failed)
        return readFileSync(half.log, 'utf8').includes('"phase":"stream"')
      }, { ms: 60_000, every: 5 })
      return half
    },
  }
}
