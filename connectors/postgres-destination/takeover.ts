import { RekeyError } from '../../src/core/errors.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import type { Wire } from './wire.ts'

/**
 * One that was taken over while its connection was away must not take the pipeline back. A lower number than its own is no other's: the destination
 * has failed over to a standby that had not heard of its start.
 */
export async function refuseFenced(wire: Wire, pipeline: string, former: string): Promise<void> {
  const { rows } = await wire.send(`select writer from rekey.checkpoint where pipeline = ${quoteLiteral(pipeline)}`)
  if (rows.length > 0 && BigInt(rows[0][0]!) > BigInt(former)) throw new RekeyError('FENCED', `another rekey has taken the pipeline ${pipeline}`)
}

/** Connections of a rekey that hangs, or is gone, with a transaction open: they would hold rows locked for good. */
export function endIdle(application: string): string {
  return `select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${quoteLiteral(application)}
    and usename = current_user and datname = current_database() and state like 'idle in transaction%' and pid <> pg_backend_pid()`
}
