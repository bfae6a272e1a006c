import { setTimeout as sleep } from 'node:timers/promises'
import { client } from '../../test/support/database.ts'
import type { Phase } from '../phase.ts'
import { until } from '../sql.ts'
import { percentile, round } from '../stats.ts'
import type { Field, Mover, MoverName } from './mover.ts'
import { withTrial } from './stages.ts'

/** Milliseconds from the return of the commit at the source until the row is seen at the destination, under a steady load. */
export interface SteadyLatency {
  readonly mover: MoverName
  readonly pair: number
  readonly perSecond: number
  readonly samples: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const WARM_UP_SECONDS = 5

/** A transaction of two inserts, a node and a marker, every 1 / perSecond seconds, whatever became of those before. */
export async function measureSteady({ field, mover, phase, pair }: { field: Field; mover: Mover; phase: Phase; pair: number },
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number }): Promise<SteadyLatency> {
  return withTrial({ field, mover, phase, pair }, true, async (trial) => {
    const deliver = await mover.deliver(trial)
    const capture = await mover.capture(trial)
    const source = await client(field.place.source.url(phase.subject.database))
    const probe = await client(field.place.destination.url(trial.database))
    try {
      const [{ last }] = (await source.query<{ last: string }>('select greatest(max(id), 1000000000) as last from nodes')).rows
      const first = Number(last) + 1
      const total = perSecond * (WARM_UP_SECONDS + seconds)
      const committed = new Float64Array(total)
      const found: number[] = []
      const writing = (async () => {
        const begun = performance.now()
        for (let i = 0; i < total; i++) {
          const wait = begun + i * 1000 / perSecond - performance.now()
          if (wait > 0) await sleep(wait)
          const id = first + i
          await source.query(`begin; insert into nodes values (${id}, 1, 'late', 'simulation', node_inputs(${id}));
            insert into marker values (${id}, ${id}); commit`)
          committed[i] = performance.now()
        }
      })()
      let seen = 0
      await until('the last row', async () => {
        const { rows } = await probe.query<{ n: string | null }>({
          name: 'seen', text: 'select max(n) as n from public.marker where n >= $1', values: [first] })
        const now = performance.now()
        const upTo = rows[0].n === null ? 0 : Number(rows[0].n) - first + 1
        // A row may be seen before the source's client has heard of its commit.
        for (; seen < upTo; seen++) if (seen >= perSecond * WARM_UP_SECONDS) found.push(committed[seen] === 0 ? 0 : Math.max(0, now - committed[seen]))
        for (const half of [capture, deliver]) {
          const failure = seen % 100 === 0 ? await half.failure() : null
          if (failure !== null) throw new Error(failure)
        }
        return seen >= total
      }, { ms: 120_000, every: 1 })
      await writing
      const at = (share: number) => round(percentile(found, share), 2)
      return { mover: mover.name, pair, perSecond, samples: found.length, p50: at(0.5), p99: at(0.99), max: at(1) }
    } finally {
      await Promise.all([source.end(), probe.end()])
      await capture.stop()
      await deliver.stop()
    }
  })
}
