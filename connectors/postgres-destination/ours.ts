import { quoteLiteral } from '../../src/core/quote.ts'

/**
 * Which rows are ours while nobody can know it by what was read: each transaction that writes rows, or part of one under a savepoint, leaves a
 * row of its own in `rekey.our_transaction`, and the rows that it wrote have the same `xmin`. Kept from the beginning of a run until the stream
 * has passed its copy; with a row `interrupted` it counts, for a copy that was not cut off leaves no doubt.
 */

/** To be the first statement that writes in a transaction or behind a savepoint. */
export function noteOurs(pipeline: string): string {
  return `insert into rekey.our_transaction (pipeline) values (${quoteLiteral(pipeline)})`
}

export function noteInterrupted(pipeline: string): string {
  return `insert into rekey.our_transaction (pipeline, interrupted) values (${quoteLiteral(pipeline)}, true)`
}

/** Nothing is in doubt any more. */
export function forgetOurs(pipeline: string): string {
  return `delete from rekey.our_transaction where pipeline = ${quoteLiteral(pipeline)}`
}

/** Whether some are kept. */
export function keepsOurs(pipeline: string): string {
  return `select exists (select from rekey.our_transaction where pipeline = ${quoteLiteral(pipeline)})`
}

/** True for a row `t` that was not written by any of them, while that counts. */
export function notOurs(pipeline: string): string {
  const of = `from rekey.our_transaction o where o.pipeline = ${quoteLiteral(pipeline)}`
  return `exists (select ${of} and o.interrupted) and t.xmin not in (select o.xmin ${of})`
}
