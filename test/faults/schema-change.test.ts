import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { withDatabases } from '../../src/pipeline/open.ts'
import { failureOf, PARENTS, parentsRig } from '../support/accident.ts'
import type { Rig } from '../support/rig.ts'
import { pair } from '../support/servers.ts'

/** The source changes a table while the run is stopped: what the mapping does not know is named, and nothing is skipped. */
const servers = await pair({ source: 15, destination: 18 })

/** A run that has copied and was stopped; then `sql` at the source. */
async function stoppedThen(sql: string): Promise<Rig> {
  const rig = await parentsRig(servers)
  const running = rig.start()
  await rig.caughtUp(running)
  await running.stop()
  await rig.source.query(sql)
  return rig
}

async function position(rig: Rig): Promise<unknown> {
  return rig.destination.query('select commit_lsn::text from rekey.checkpoint')
}

/** Twice: the second time it is the same, and the checkpoint stays. */
async function refused(rig: Rig, column: string): Promise<void> {
  for (let i = 0; i < 2; i++) {
    const before = await position(rig)
    const { code, exit, message } = await failureOf(rig.start())
    expect({ code, exit }).toEqual({ code: 'SCHEMA_CHANGED', exit: 5 })
    expect(message).toContain(column)
    expect(await position(rig)).toEqual(before)
  }
}

async function goesOn(rig: Rig): Promise<void> {
  const running = rig.start()
  await rig.caughtUp(running)
  await rig.source.query("insert into parents (id, name) values (900, 'after'); update children set amount = amount + 1 where id = 3")
  await rig.caughtUp(running)
  await running.stop()
  expect(await rig.differences()).toEqual([])
}

/** More of the mapping. */
function remap(rig: Rig, yaml: string): Promise<void> {
  return appendFile(join(rig.config.mapping, 'mapping.yaml'), `\n${yaml}\n`)
}

const ADDED = "alter table children add column extra text; update children set extra = 'e', amount = 70 where id = 2"

test('a column is added: it goes on when the destination has it, too', async () => {
  const rig = await stoppedThen(ADDED)
  try {
    await refused(rig, 'extra')
    await rig.destination.query('alter table children add column extra text')
    await goesOn(rig)
    expect(await rig.destination.query('select count(*)::text as n from children where extra is not null')).toEqual([{ n: '1' }])
  } finally {
    await rig.close()
  }
})

test('a column is added and filled, and goes again: what was written of it is not skipped', async () => {
  const rig = await stoppedThen(`${ADDED}; alter table children drop column extra`)
  try {
    await refused(rig, 'extra')
    expect(await rig.destination.query('select count(*)::text as n from children where amount = 70')).toEqual([{ n: '0' }])
  } finally {
    await rig.close()
  }
})

test('a column comes and goes and no row has it: it goes on', async () => {
  const rig = await stoppedThen('alter table children add column extra text; alter table children drop column extra; update children set amount = 7')
  try {
    await goesOn(rig)
  } finally {
    await rig.close()
  }
})

test.each([
  ['goes away', 'note', 'alter table children drop column note', 'alter table children add column note text'],
  ['is renamed', 'remark', 'alter table children rename column note to remark', 'alter table children rename column remark to note'],
])('a column %s: refused, and when it is back before a row has changed, it goes on', async (_, named, sql, back) => {
  const rig = await stoppedThen(`update children set amount = 70 where id = 1; ${sql}`)
  try {
    await refused(rig, named)
    await rig.source.query(back)
    await rig.source.query("update children set note = 'again'")
    await goesOn(rig)
  } finally {
    await rig.close()
  }
})

test('a column goes away and rows change without it: refused even when it is back, until the mapping says that it is new', async () => {
  const rig = await stoppedThen('alter table children drop column note; update children set amount = 5; alter table children add column note text')
  try {
    await refused(rig, 'note')
    expect(await rig.destination.query("select count(*)::text as n from children where note = 'n' and amount <> 5")).toEqual([{ n: '19' }])
    await rig.destination.query('update children set note = null')
    await remap(rig, 'tables: { children: { added: [note] } }')
    await goesOn(rig)
  } finally {
    await rig.close()
  }
})

/** Changes of every kind: two of these make a backlog on both sides of what stands between them. */
const work = (first: number): string => `
insert into parents values (${first}, 'new');
insert into children values (${first}, ${first}, 1, 'first'), (${first + 1}, ${first}, 2, 'second'), (${first + 2}, 1, 3, 'third');
update children set amount = amount + 100 where id % 3 = 0;
update children set id = ${first + 10} where id = ${first + 1};
delete from children where id = ${first + 2} or id = ${first / 100};`

describe('unapplied changes from before and after', () => {
  test.each([
    ['without a default', 'text', ''],
    ['with a default', "text default 'as it was made'", ''],
    ['with a default that must not be null', 'integer not null default 7', ''],
    ['with a default that is taken away again', "text default 'once'", 'alter table children alter column extra drop default;'],
  ])('a column that is added %s', async (_, type, after) => {
    const add = `alter table children add column extra ${type}; ${after}`
    const rig = await stoppedThen(`${work(100)} ${add} ${work(200)} update children set extra = '5' where id in (4, 100, 200)`)
    try {
      await refused(rig, 'extra')
      // What the destination adds to rows that come without the column is its default, as it was at the source.
      await rig.destination.query(add.replace(after, ''))
      await goesOn(rig)
      expect(await rig.destination.query("select count(*)::text as n from children where extra::text = '5'")).toEqual([{ n: '3' }])
    } finally {
      await rig.close()
    }
  })

  test('a column that goes away: the mapping says so', async () => {
    const rig = await stoppedThen(`${work(100)} alter table children drop column note; insert into children values (300, 1, 1)`)
    try {
      await refused(rig, 'note')
      await remap(rig, 'tables: { children: { former: { note: null } } }')
      await goesOn(rig)
      expect(await rig.destination.query("select count(*)::text as n from children where note = 'n'")).toEqual([{ n: '19' }])
    } finally {
      await rig.close()
    }
  })

  test.each([
    ['the destination renames it, too', 'alter table children rename column note to remark', '{ former: { note: remark } }'],
    ['the destination keeps its name', 'select 1', '{ former: { note: remark }, columns: { remark: { to: note } } }'],
  ])('a column that is renamed: %s', async (_, sql, rule) => {
    const rig = await stoppedThen(`${work(100)} alter table children rename column note to remark; ${work(200)}`)
    try {
      await refused(rig, 'remark')
      await rig.destination.query(sql)
      await remap(rig, `tables: { children: ${rule} }`)
      await goesOn(rig)
    } finally {
      await rig.close()
    }
  })

  test('a column that is added while the copy is interrupted, with changes before and after', async () => {
    const rig = await parentsRig(servers, { rows: 600, config: 'snapshot: { workers: 1, rowsPerChunk: 100 }' })
    try {
      let chunks = 0
      const first = rig.start({ point: async (name) => {
        if (name === 'snap.chunk_written' && ++chunks === 8) throw new Error('stopped here')
      } })
      await expect(first.ended).rejects.toThrow('stopped here')
      const add = "alter table children add column extra text default 'given'"
      await rig.source.query(`${work(700)} delete from children where id in (5, 595); ${add}; ${work(800)} update children set extra = '5' where id in (4, 590, 700, 800)`)
      await rig.destination.query(add)
      await goesOn(rig)
      expect(await rig.destination.query("select count(*) filter (where extra = '5')::text as five, count(*) filter (where extra is null)::text as none from children")).toEqual([{ five: '4', none: '0' }])
    } finally {
      await rig.close()
    }
  })

  test('a column whose default is not one value: said once, and brought by an update', async () => {
    const rig = await stoppedThen(`alter table children add column mark float8 default random(), add column at timestamptz default now(),
      add column flat text default 'it''s', add column n integer default -1; update children set amount = 70 where id = 2`)
    try {
      await rig.destination.query(`alter table children add column mark float8 default random(), add column at timestamptz default now(),
        add column flat varchar(9) default 'it''s', add column n bigint default -1`)
      const told = (notes: readonly { readonly text: string }[]): string[] => notes.map(({ text }) => text).filter((text) => text.includes('not one value'))
      const running = rig.start()
      await rig.caughtUp(running)
      expect(told(running.notes)).toEqual([
        'rows that were there may have other values here than at the source, until it updates them: public.children.mark, public.children.at came with defaults that are not one value',
      ])
      expect((await rig.differences()).length).toBeGreaterThan(0)
      await running.stop()
      await rig.source.query('update children set mark = mark')
      const again = rig.start()
      await rig.caughtUp(again)
      expect(told(again.notes)).toEqual([])
      await again.stop()
      expect(await rig.differences()).toEqual([])
    } finally {
      await rig.close()
    }
  })

  test('a column that is added in the middle of a large transaction', async () => {
    const rig = await stoppedThen(`begin; insert into children select i, 1, i, 'n' from generate_series(1000, 26000) i; ${work(100)} alter table children add column extra text default 'given';
      insert into children select i, 1, i, 'n', 'own' from generate_series(30000, 55000) i; update children set extra = '5' where id in (4, 100, 1001); commit`)
    try {
      await rig.destination.query("alter table children add column extra text default 'given'")
      await goesOn(rig)
      expect(await rig.destination.query("select extra, count(*)::text as n from children where extra in ('5', 'own') group by 1 order by 1")).toEqual([{ extra: '5', n: '3' }, { extra: 'own', n: '25001' }])
    } finally {
      await rig.close()
    }
  })

  test('a change that was parked before: its row gets what the source gave it', async () => {
    const rig = await parentsRig(servers)
    try {
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.destination.query("alter table children add constraint c check (note <> 'bad')")
      await rig.source.query("insert into children values (30, 1, 3, 'bad'); update children set amount = 4 where id = 30")
      await rig.caughtUp(running)
      await running.stop()
      const add = "alter table children add column extra text default 'given'"
      await rig.source.query(add)
      await rig.destination.query(`${add}; alter table children drop constraint c; update rekey.parked set state = 'retry'`)
      await goesOn(rig)
      expect(await rig.destination.query("select extra, amount from children where note = 'bad'")).toEqual([{ extra: 'given', amount: '4' }])
    } finally {
      await rig.close()
    }
  })

  test.each([
    ['goes at both sides: nobody need say so', 'alter table children drop column note', null],
    ['goes at the source alone: the mapping must say so', 'select 1', '{ former: { note: null } }'],
  ])('a change that was parked before, of a table of which a column %s', async (_, there, rule) => {
    const rig = await parentsRig(servers)
    try {
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.destination.query('alter table children add constraint c check (amount < 1000)')
      await rig.source.query("insert into children values (30, 1, 3000, 'n'); update children set amount = 4000 where id = 30")
      await rig.caughtUp(running)
      await running.stop()
      await rig.source.query('alter table children drop column note')
      await rig.destination.query(`${there}; alter table children drop constraint c; update rekey.parked set state = 'retry'`)
      if (rule !== null) {
        const { code, exit, message, hint } = await failureOf(rig.start())
        expect({ code, exit, message }).toEqual({
          code: 'SCHEMA_CHANGED', exit: 5, message: 'rows of public.children that are parked have the column note, which the source has no more; the destination still has it',
        })
        expect(hint).toContain('former: { note: null }')
        await remap(rig, `tables: { children: ${rule} }`)
      }
      const again = rig.start()
      const left = (): Promise<unknown> => rig.destination.query("select from rekey.parked where state <> 'done'")
      for (const end = Date.now() + 20_000; Date.now() < end && ((await left()) as unknown[]).length > 0;) await Promise.race([again.ended, sleep(50)])
      expect(await left()).toEqual([])
      await again.stop()
      expect(await rig.destination.query('select amount from children where amount > 1000')).toEqual([{ amount: '4000' }])
      expect(await rig.differences()).toEqual([])
    } finally {
      await rig.close()
    }
  })

  test('a column that came while the run was under way and goes again is not left alone in silence', async () => {
    const rig = await stoppedThen('alter table children add column extra text')
    try {
      await rig.destination.query('alter table children add column extra text')
      const running = rig.start()
      await rig.caughtUp(running)
      await rig.source.query("update children set extra = 'x'")
      await rig.caughtUp(running)
      await rig.source.query('alter table children drop column extra; update children set amount = 1')
      expect(await failureOf(running)).toMatchObject({ code: 'SCHEMA_CHANGED', message: 'public.children no longer has the column extra' })
    } finally {
      await rig.close()
    }
  })
})

describe('a mapping that is edited while its run is under way', () => {
  test('is taken where it means the same for all that was carried', async () => {
    const rig = await stoppedThen('create table logs (id bigint primary key); alter table parents add column secret text; update parents set name = name')
    try {
      await refused(rig, 'secret')
      await remap(rig, '# why\ndefaults: { truncate: owned }\ntables: { logs: { verdict: skip, reason: not wanted }, parents: { columns: { secret: { drop: a secret } } } }')
      await goesOn(rig)
      await rig.source.query('truncate children')
      const running = rig.start()
      await rig.caughtUp(running)
      await running.stop()
      expect(await rig.differences()).toEqual([])
    } finally {
      await rig.close()
    }
  })

  test('is refused by name where it does not', async () => {
    const rig = await parentsRig(servers, {
      sourceSql: `${PARENTS.sourceSql} create table logs (id bigint primary key)`, mapping: `${PARENTS.mapping}tables: { logs: { verdict: skip, reason: not wanted } }\n`,
    })
    try {
      const running = rig.start()
      await rig.caughtUp(running)
      await running.stop()
      await rig.destination.query('create table logs (id text primary key); alter table children add column remark text')
      const file = join(rig.config.mapping, 'mapping.yaml')
      const before = await readFile(file, 'utf8')
      const saying = (yaml: string): string => before.replace('tables: { ', `tables: { ${yaml}, `)
      for (const [edit, told] of [
        [before.replace('prefix: par', 'prefix: pare'), ['the entity parents is another: strategy']],
        [saying('parents: { where: { name: p1 } }'), ['public.parents: where was changed']],
        [saying('parents: { pinned: { 1: par_1 } }'), ['the entity parents is another: decided', 'public.parents: pinned was changed']],
        [saying('children: { columns: { note: { to: remark } } }'), ['public.children.note went to note, which is still there, and goes to remark now']],
        [saying('children: { columns: { note: { drop: not wanted } } }'), ['public.children.note was carried and is not any more']],
        [saying('children: { columns: { note: { constant: x } } }'), ['public.children.note was carried and is not any more']],
        [saying('children: { columns: { note: { template: "see {parents}" } } }'), ['public.children.note: what becomes of its values was changed']],
        [before.replace('[parents, children]', '[parents, children, logs]').replace('prefix: chi }', 'prefix: chi }, logs: { prefix: log }').replace(/logs: [{] verdict.*wanted }/, ''), ['public.logs is carried now: its rows were not copied']],
        [saying('children: { verdict: skip, reason: not wanted }').replace('[parents, children]', '[parents]').replace(', children: { prefix: chi }', ''), ['the entity children is gone', 'public.children is not carried any more']],
      ] as const) {
        await writeFile(file, edit)
        const { code, exit, message } = await failureOf(rig.start())
        expect(`${code} ${exit} ${message}`).toMatch(/^CONFIG 2 /)
        expect(message.split('\n').slice(1)).toEqual(told)
        // `rekey check` tells the same.
        expect(await withDatabases(rig.config, async ({ edited }) => edited)).toEqual(told)
      }
      await writeFile(file, before)
      await goesOn(rig)
    } finally {
      await rig.close()
    }
  })
})
