import { expect } from 'vitest'
import type { RekeyError } from '../../src/core/errors.ts'
import { createRig, type Rig, type RigOptions, type Running } from './rig.ts'

/** A small pair of tables for accidents that need no more: parents, and children with a foreign key. */
export const PARENTS = {
  sourceSql: `create table parents (id bigint primary key, name text);
    create table children (id bigint primary key, parent_id bigint not null references parents on delete cascade, amount integer, note text);
    create index on children (parent_id);`,
  destinationSql: `create table parents (id text collate "C" primary key, name text);
    create table children (id text collate "C" primary key, parent_id text collate "C" not null references parents, amount integer, note text);
    create index on children (parent_id);`,
  mapping: `
application: accidents
contexts: [{ name: all, tables: [parents, children] }]
entities: { parents: { prefix: par }, children: { prefix: chi } }
`,
} as const

export async function parentsRig(servers: RigOptions['servers'],
  more: Partial<RigOptions> & { readonly rows?: number } = {}): Promise<Rig> {
  const rig = await createRig({ servers, ...PARENTS, ...more })
  const { rows = 20 } = more
  await rig.source.query(`insert into parents select i, 'p' || i from generate_series(1, ${rows}) i; insert into children select i, i, i, 'n' from generate_series(1, ${rows}) i`)
  return rig
}

/** Runs `work` with a bridge that has caught up, waits until it has again, stops it, and says that both sides agree. */
export async function withBridge(rig: Rig, work: (running: Running) => Promise<void>): Promise<void> {
  const running = rig.start()
  await rig.caughtUp(running)
  await work(running)
  await rig.caughtUp(running)
  await running.stop()
  expect(await rig.differences()).toEqual([])
}

/** What a run ended with; fails when it did not end with an error. */
export async function failureOf(running: Pick<Running, 'ended'>): Promise<Pick<RekeyError, 'code' | 'exit' | 'message' | 'hint'>> {
  const error = await running.ended.then(() => null, (cause: RekeyError) => cause)
  if (!error) throw new Error('the run ended without an error')
  return error
}

export async function parked(rig: Rig): Promise<Record<string, string | null>[]> {
  return rig.destination.query("select tbl, key, op, sqlstate, behind, state from rekey.parked where state <> 'done' order by id")
}
