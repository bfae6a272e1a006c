import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import type { ContenderName, Place } from './contender.ts'
import { MARKER } from './phase.ts'
import { readingSince, withRun, type Pairing } from './run.ts'
import { hasMarker, until } from './sql.ts'
import { percentile, round } from './stats.ts'

/** Milliseconds from the return of the commit at the source until the row is seen at the destination by busy polling. */
export interface Latency {
  readonly pair: number
  readonly contender: ContenderName
  readonly samples: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

const WARM_UP = 20

/** A transaction of two inserts at a time, a node and a marker, 10 ms apart. */
export async function measureLatency(place: Place, of: Pairing, { pair, samples }: { pair: number; samples: number }): Promise<Latency> {
  return withRun(place, of, async (session) => {
    const { source, probe } = session
    const running = await session.launch()
    await readingSince(running, session)
    await until('the marker', () => hasMarker(probe, MARKER), { ms: 60_000, every: 20 })
    const found: number[] = []
    // Ids that no other run has used: the source keeps the rows of all runs.
    const [{ last }] = (await source.query<{ last: string }>('select greatest(max(id), 1000000000) as last from nodes')).rows
    for (let i = 1; i <= WARM_UP + samples; i++) {
      const id = Number(last) + i
      await source.query(
        `begin; insert into nodes values (${id}, 1, 'late', 'simulation', node_inputs(${id})); insert into marker values (${id}, ${id}); commit`)
      const committed = performance.now()
      await until('the row', () => seen(probe, id), { ms: 30_000, every: 0 })
      if (i > WARM_UP) found.push(performance.now() - committed)
      const failure = running.failure()
      if (failure !== null) throw new Error(failure)
      await sleep(10)
    }
    const at = (share: number) => round(percentile(found, share), 3)
    return { pair, contender: of.contender.name, samples, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) }
  })
}

/** Asks without a pause for 20 ms at most, so that the meter's own grain is one round trip. */
async function seen(probe: Client, id: number): Promise<boolean> {
  const end = performance.now() + 20
  while (performance.now() < end) if (await hasMarker(probe, id)) return true
  return false
}
