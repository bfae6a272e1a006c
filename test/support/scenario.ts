import { expect, test } from 'vitest'
import type { TextRow } from './database.ts'
import { createRig, type Rig, type Running } from './rig.ts'
import type { Server } from './postgres.ts'

/** A step is SQL at the source, in one transaction unless it says otherwise, or whatever a function does. After each the two sides must agree. */
export type Step = string | { readonly offline: string } | ((rig: Rig, running: Running) => Promise<unknown>)

export interface Scenario {
  readonly servers: { readonly source: Server; readonly destination: Server }
  /** Made on both sides; `key` is the type of rekeyed columns: bigint, or text. */
  readonly schema: (key: string, side: 'source' | 'destination') => string
  /** Names of the tables, parents first; each becomes an entity with prefixed ids. */
  readonly tables: readonly string[]
  /** Entities and tables of the mapping that are not as above. */
  readonly entities?: Readonly<Record<string, unknown>>
  readonly rules?: Readonly<Record<string, unknown>>
  /** Rows that are there before the initial copy. */
  readonly before?: string
  readonly steps: readonly Step[]
  /** What must be true of the destination at the end, by query. */
  readonly expect?: readonly (readonly [sql: string, rows: readonly TextRow[]])[]
  readonly checks?: readonly ('engine' | 'set')[]
  readonly config?: string
}

const letter = (i: number): string => String.fromCharCode(97 + i)

function mappingOf({ tables, entities = {}, rules = {} }: Scenario): string {
  return JSON.stringify({
    application: 'scenario', contexts: [{ name: 'all', tables }], defaults: { truncate: 'owned' },
    entities: { ...Object.fromEntries(tables.map((table, i) => [table, { prefix: `p${letter(i)}` }])), ...entities }, tables: { ...Object.fromEntries(tables.flatMap((table) => (table.includes('.') ? [[table, { to: table }]] : []))), ...rules },
  })
}

/** Runs a scenario with both ways of checking foreign keys: nothing is parked, and after every step the oracle finds no difference. */
export function scenario(name: string, given: Scenario): void {
  for (const checks of given.checks ?? (['engine', 'set'] as const)) {
    test(`${name} (${checks})`, async () => {
      const rig = await createRig({
        servers: given.servers, mapping: mappingOf(given), config: `checks: ${checks}\n${given.config ?? ''}`,
        sourceSql: given.schema('bigint', 'source'), destinationSql: given.schema('text collate "C"', 'destination'),
      })
      try {
        if (given.before) await rig.source.query(given.before)
        let running = rig.start()
        await agree(rig, running, 'the initial copy')
        for (const [i, step] of given.steps.entries()) {
          running = await take(step, rig, running)
          await agree(rig, running, `step ${i + 1}`)
        }
        await running.stop()
        closed(running)
        for (const [sql, rows] of given.expect ?? []) expect(await rig.destination.query(sql), sql).toEqual(rows)
      } finally {
        await rig.close()
      }
    })
  }
}

async function take(step: Step, rig: Rig, running: Running): Promise<Running> {
  if (typeof step === 'string') await rig.source.query(step)
  else if (typeof step === 'function') await step(rig, running)
  else {
    await running.stop()
    await rig.source.query(step.offline)
    return rig.start()
  }
  return running
}

async function agree(rig: Rig, running: Running, when: string): Promise<void> {
  await rig.caughtUp(running)
  expect(await rig.destination.query('select tbl, key, op, sqlstate, reason from rekey.parked where state <> \'done\''), when).toEqual([])
  expect(await rig.differences(), when).toEqual([])
}

/** read = inserted + updated + merged + deleted + skipped + parked, for every table. */
function closed(running: Running): void {
  for (const [table, t] of Object.entries(running.latest()?.totals ?? {})) {
    const sum = t.inserted + t.updated + t.merged + t.deleted + t.parked + Object.values(t.skipped).reduce((a, b) => a + b, 0)
    expect([table, t.read]).toEqual([table, sum])
  }
}
