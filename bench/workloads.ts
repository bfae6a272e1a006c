import { nodeRows, PROJECTS, USERS } from './tables.ts'

export const PHASES = ['a', 'b', 'c', 'd', 'latency'] as const
export type PhaseName = (typeof PHASES)[number]

export interface Workload {
  readonly kind: 'stream' | 'copy'
  readonly title: string
  /** Each is sent by itself: a procedure that commits must not be in another transaction. The last returns `rows` and `transactions`. */
  readonly statements: readonly string[]
}

/** Nodes in every source before a phase: room for updates, and rows to delete. */
export function baseNodes(scale: number): number {
  return Math.round(200_000 * scale)
}

/** What is written at the source while nobody reads, to be replayed afterwards. */
export function workload(phase: PhaseName, scale: number): Workload {
  const base = baseNodes(scale)
  const rows = Math.max(1_000, Math.round(500 * scale) * 1_000)
  switch (phase) {
    case 'a':
      return {
        kind: 'stream', title: 'bulk inserts, 1,000 rows a transaction',
        statements: [BULK, `call write_bulk(${base}, ${rows}, 0, 0)`],
      }
    case 'b': {
      const count = Math.round(200_000 * scale)
      return {
        kind: 'stream', title: 'small mixed transactions',
        statements: [MIXED, 'select setseed(0.42)', `call write_mixed(${base}, ${count}, 0, 0)`],
      }
    }
    case 'c':
      return {
        kind: 'stream', title: 'one transaction',
        statements: [nodeRows({ after: base, count: rows }), `select ${rows} as rows, 1 as transactions`],
      }
    case 'd': {
      const more = Math.max(0, Math.round(1_000_000 * scale) - USERS - PROJECTS - base)
      const all = USERS + PROJECTS + base + more
      return {
        kind: 'copy', title: 'initial copy',
        statements: [nodeRows({ after: base, count: more }), `select ${all} as rows, 0 as transactions`],
      }
    }
    case 'latency':
      return {
        kind: 'stream', title: 'single small transactions on an idle system',
        statements: ['select 0 as rows, 0 as transactions'],
      }
  }
}

const BULK = `
create procedure write_bulk(base bigint, total bigint, inout rows bigint, inout transactions bigint) language plpgsql as $$
begin
  while rows < total loop
    ${nodeRows({ after: '(base + rows)', count: '1000' })};
    rows := rows + 1000;
    transactions := transactions + 1;
    commit;
  end loop;
end $$`

/**
 * Three to five statements in a transaction: 60 % updates (a tenth of them of projects, a quarter of the others with a new payload), 31 %
 * inserts, 9 % deletes. Deletes go through the first half of the base, updates are at random in the second half.
 */
const MIXED = `
create procedure write_mixed(base bigint, total bigint, inout rows bigint, inout transactions bigint) language plpgsql as $$
declare
  chance double precision;
  dice double precision;
  half bigint := base / 2;
  inserted bigint := base;
  deleted bigint := 0;
begin
  while transactions < total loop
    for i in 1 .. 3 + floor(random() * 3)::int loop
      chance := random();
      dice := random();
      if chance < 0.06 then
        update projects set modified = modified + interval '1 second' where id = 1 + floor(dice * ${PROJECTS})::bigint;
      elsif chance < 0.465 then
        update nodes set progress = (progress + 1) % 100, modified = modified + interval '1 second'
          where id = half + 1 + floor(dice * half)::bigint;
      elsif chance < 0.60 then
        update nodes set progress = (progress + 1) % 100, inputs = node_inputs(rows)
          where id = half + 1 + floor(dice * half)::bigint;
      elsif chance < 0.91 or deleted >= half then
        inserted := inserted + 1;
        insert into nodes
          values (inserted, 1 + floor(dice * ${PROJECTS})::bigint, 'node ' || inserted, 'simulation', node_inputs(inserted), 0);
      else
        deleted := deleted + 1;
        delete from nodes where id = deleted;
      end if;
      rows := rows + 1;
    end loop;
    transactions := transactions + 1;
    commit;
  end loop;
end $$`
