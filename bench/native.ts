import type { Contender, Place } from './contender.ts'
import { dropSlot, execute, rowsOf, within } from './sql.ts'

export const PUBLICATION = 'bench'
const SLOT = 'bench_native_run'

/**
 * Postgres's own logical replication, as it comes: the apply worker commits with synchronous_commit = off and runs with
 * session_replication_role = replica, so it checks no foreign key (manual, "Logical Replication", "Architecture").
 */
export function native(place: Place): Contender {
  const { source, destination } = place
  return {
    name: 'native',
    async prepare({ kind, phase, database }) {
      if (kind === 'copy') return { template: 'native_empty', slot: { master: null, name: SLOT } }
      const master = `bench_native_${phase}`
      await within(source.url(database), (s) => rowsOf(s, "select pg_create_logical_replication_slot($1, 'pgoutput')", [master]))
      return { template: 'native_base', slot: { master, name: SLOT } }
    },
    async start({ subject, database }) {
      const url = destination.url(database)
      const from = `host=${source.host} port=${source.port} user=postgres dbname=${subject.database}`
      const how = subject.kind === 'stream' ? `copy_data = false, create_slot = false, slot_name = ${SLOT}` : `slot_name = ${SLOT}`
      await execute(url, [`create subscription bench connection '${from}' publication ${PUBLICATION} with (${how})`])
      return {
        pids: [],
        // A table's rows are visible from the state f (finished copy) on; s and r follow.
        copied: async (probe) => {
          const open = "count(*) filter (where srsubstate in ('i', 'd')) as open"
          const [row] = await rowsOf(probe, `select ${open}, count(*) as tables from pg_subscription_rel`)
          return row['open'] === '0' && row['tables'] !== '0'
        },
        failure: () => null,
        async stop() {
          const detach = ['alter subscription bench disable', 'alter subscription bench set (slot_name = none)', 'drop subscription bench']
          await execute(url, detach)
          await dropSlot(source, SLOT)
        },
      }
    },
    clean: async () => {},
  }
}
