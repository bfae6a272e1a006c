import type { Rig } from './rig.ts'

/**
 * The parts of a bridge in another process that rig.caughtUp() cannot see: waits for the checkpoint alone, as long as it moves. `seconds`: how long
 * it may stand still; how fast it moves depends on what else the machine does.
 */
export async function drained(rig: Rig,
  options: { readonly seconds?: number; readonly failed?: () => string | undefined } = {}): Promise<void> {
  const [row] = await rig.source.query('select pg_current_wal_lsn()::text as lsn')
  await rig.source.query("select pg_logical_emit_message(false, 'rekey', 'heartbeat')")
  const patience = (options.seconds ?? 60) * 1_000
  let [end, moved] = [Date.now() + patience, '']
  for (;;) {
    const [at] = await rig.destination.query(
      `select (end_lsn >= '${row.lsn}' and converge_lsn > '0/0' and not exists (select from rekey.parked where state = 'left'))::text as reached, phase, end_lsn from rekey.checkpoint where pipeline = '${rig.config.pipeline}'`).catch(() => [])
    if (at?.reached === 'true' && at.phase === 'stream') return
    const why = options.failed?.()
    if (why !== undefined) throw new Error(`the bridge ended: ${why}`)
    if (at !== undefined && at.end_lsn !== moved) [end, moved] = [Date.now() + patience, at.end_lsn ?? '']
    if (Date.now() > end) throw new Error(`not drained: ${at?.phase} at ${at?.end_lsn}, wanted ${row.lsn}`)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
}

/** The ledger's decisions, `entity/old` to `new kind`. */
export async function ledger(rig: Rig): Promise<Map<string, string>> {
  const rows = await rig.destination.query('select entity, old, new from rekey.id_map where pipeline = $1',
    [rig.config.pipeline]).catch(() => [])
  return new Map(rows.map((row) => [`${row.entity}/${row.old}`, row.new!]))
}
