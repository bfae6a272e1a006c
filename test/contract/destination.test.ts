import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Decision, WritePlan } from '../../src/core/plan.ts'
import { noTotals } from '../../src/core/totals.ts'
import type { CopyChunk } from '../../src/ports.ts'
import { destinationFixture, type Checks, type Fixture, type Rows } from '../support/destination-fixture.ts'
import type { Server } from '../support/postgres.ts'
import { server } from '../support/servers.ts'

/** Everything that a destination promises. `make` gives a fresh one, with a table of parents and one of children in it. */
function destinationContract(name: string, make: () => Promise<Fixture>): void {
  describe(name, () => {
    let at: Fixture
    beforeEach(async () => {
      at = await make()
    })
    afterEach(() => at.close())

    const decision = (key: string, more: Partial<Decision> = {}): Decision =>
      ({ entity: 'parents', key, id: `par_${key}`, kind: 'inserted', rule: '', evidence: '', ...more })
    const opened = async (options: Parameters<Fixture['make']>[0] = {}) => {
      const made = at.make(options)
      return { ...made, checkpoint: await made.destination.open() }
    }
    /** What is durably there, as anybody sees it in one moment. */
    const seen = async () => {
      const [row] = await at.db.query(`select (select string_agg(id, ' ' order by id) from parents) parents,
        (select string_agg(id, ' ' order by id) from children) children, (select string_agg(old, ' ' order by old) from rekey.id_map) ledger,
        (select commit_lsn - '0/0' from rekey.checkpoint where pipeline = 'main') lsn`)
      return [row.parents, row.children, row.ledger, row.lsn]
    }
    const failing: Rows = { children: [['orphan', 'nobody']] }

    it('is new when it is opened first, and says what was applied when it is opened again', async () => {
      const { destination, checkpoint, close } = await opened()
      expect(checkpoint).toMatchObject({ phase: 'new', commitLsn: 0n, endLsn: 0n, convergeLsn: 0n, totals: {} })
      const totals = { 'public.parents': { ...noTotals(), read: 2, inserted: 1, skipped: { 'a "reason"': 1 } } }
      const after = { epoch: 3, commitLsn: 2n ** 63n, endLsn: 2n ** 63n + 5n, convergeLsn: 17n, phase: 'stream' } as const
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { after, totals }))
      await close()
      const again = await opened()
      expect(again.checkpoint).toMatchObject({ ...after, totals })
      expect(await again.destination.open()).toMatchObject({ ...after, totals })
    })

    it('rows, ledger and checkpoint become visible in one moment', async () => {
      const { destination } = await opened()
      let done = false
      const torn: unknown[] = []
      let looks = 0
      const watching = (async () => {
        for (; !done; looks++) {
          const [parents, , ledger, lsn] = await seen()
          if (parents !== ledger || (parents ?? '').split(' ').filter(Boolean).length !== Number(lsn)) torn.push([parents, ledger, lsn])
        }
      })()
      for (let n = 0; n < 25; n += 1) {
        const key = String.fromCharCode(97 + n)
        await destination.apply(at.plan(BigInt(n), { parents: [[key, key]] }, { decisions: [decision(key)] }))
      }
      done = true
      await watching
      expect(torn).toEqual([])
      expect(looks).toBeGreaterThan(5)
      expect((await seen())[3]).toBe('25')
    })

    it('a plan that fails leaves nothing, and the next one goes through', async () => {
      const { destination } = await opened()
      await expect(destination.apply(at.plan(0n, { parents: [['a', 'A']], ...failing }, { decisions: [decision('a')] })))
        .rejects.toMatchObject({ code: 'CONFLICT', sqlstate: '23503' })
      expect(await seen()).toEqual([null, null, null, '0'])
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { decisions: [decision('a')] }))
      expect(await seen()).toEqual(['a', null, 'a', '1'])
    })

    it('an error names no value', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'secret-value']] }))
      const error = await destination.apply(at.plan(1n, { parents: [['b', 'secret-value']] })).then(() => null, (e: Error) => e)
      expect(error).toMatchObject({ code: 'CONFLICT', sqlstate: '23505' })
      expect(`${error!.message} ${JSON.stringify(error)}`).not.toContain('secret-value')
    })

    it('plans are a chain: one that does not begin at the checkpoint is FENCED and leaves nothing', async () => {
      const { destination } = await opened()
      const first = at.plan(0n, { parents: [['a', 'A']] })
      await destination.apply(first)
      await expect(destination
        .apply(at.plan(5n, { parents: [['b', 'B']] }, { decisions: [decision('b')] })))
        .rejects.toMatchObject({ code: 'FENCED' })
      await expect(destination.apply({ ...first, parts: at.plan(0n, { parents: [['c', 'C']] }).parts }))
        .rejects.toMatchObject({ code: 'FENCED' })
      expect(await seen()).toEqual(['a', null, null, '1'])
      await destination.apply(at.plan(1n, { parents: [['b', 'B']] }))
      expect(await seen()).toEqual(['a b', null, null, '2'])
    })

    it.each([
      ['a statement of the first fails', { parents: [['a', 'A'], ['a', 'again']] } satisfies Rows],
      ['a foreign key of the first fails, which is deferred to its commit where the engine checks it',
        { parents: [['a', 'A']], ...failing } satisfies Rows],
    ])('two are under way and %s: both are undone', async (_, rows) => {
      const { destination } = await opened()
      const both = [
        destination.apply(at.plan(0n, rows)),
        destination.apply(at.plan(1n, { parents: [['b', 'B']] }, { decisions: [decision('b')] })),
      ]
      const results = await Promise.allSettled(both)
      expect(results.map((r) => r.status)).toEqual(['rejected', 'rejected'])
      expect(await seen()).toEqual([null, null, null, '0'])
      await Promise.all([destination.apply(at.plan(0n, { parents: [['a', 'A']] })),
        destination.apply(at.plan(1n, { parents: [['b', 'B']] }))])
      expect(await seen()).toEqual(['a b', null, null, '2'])
    })

    it('two are under way and the second fails: the first stays', async () => {
      const { destination } = await opened()
      const both = [destination.apply(at.plan(0n, { parents: [['a', 'A']] })), destination.apply(at.plan(1n, failing))]
      const results = await Promise.allSettled(both)
      expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected'])
      expect(await seen()).toEqual(['a', null, null, '1'])
    })

    it('what is not the last of its transaction is not visible until the last is', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { last: false, decisions: [decision('a')] }))
      await destination.apply(at.plan(0n, { parents: [['b', 'B']], children: [['c', 'a']] }, { last: false }))
      expect(await seen()).toEqual([null, null, null, '0'])
      await destination.apply(at.plan(0n, { children: [['d', 'b']] }))
      expect(await seen()).toEqual(['a b', 'c d', 'a', '1'])
    })

    it('a transaction in parts that fails in its last leaves nothing of the others', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { last: false, decisions: [decision('a')] }))
      await expect(destination.apply(at.plan(0n, failing))).rejects.toMatchObject({ sqlstate: '23503' })
      expect(await seen()).toEqual([null, null, null, '0'])
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }))
      expect(await seen()).toEqual(['a', null, null, '1'])
    })

    it('what comes behind a part that failed is refused, however late it comes', async () => {
      const { destination } = await opened()
      await expect(destination.apply(at.plan(0n, { parents: [['x', 'X'], ['y', 'X']] }, { last: false }))).rejects.toMatchObject({ sqlstate: '23505' })
      await expect(destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { continues: true }))).rejects.toMatchObject({ sqlstate: '25P02' })
      expect(await seen()).toEqual([null, null, null, '0'])
      await destination.apply(at.plan(0n, { parents: [['b', 'B']] }, { last: false }))
      await destination.apply(at.plan(0n, { parents: [['c', 'C']] }, { continues: true }))
      expect(await seen()).toEqual(['b c', null, null, '1'])
    })

    it('undo leaves nothing of parts and attempts', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { last: false, decisions: [decision('a')] }))
      await destination.undo()
      await destination.attempt([{ writes: at.writes({ parents: [['b', 'B']] }), truncate: [] }], at.plan(0n, {}).checks, false)
      await destination.undo()
      await destination.apply(at.plan(0n, { parents: [['c', 'C']] }))
      expect(await seen()).toEqual(['c', null, null, '1'])
    })

    it('deletes of a transaction in parts may come before those of what points at the rows', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'A'], ['b', 'B']], children: [['c', 'a']] }))
      await destination.apply(at.plan(1n, { gone: { parents: ['a'] } }, { last: false }))
      await destination.apply(at.plan(1n, { gone: { children: ['c'] } }))
      expect(await seen()).toEqual(['b', null, null, '2'])
      await destination.apply(at.plan(2n, { children: [['d', 'b']] }))
      await destination.apply(at.plan(3n, { gone: { parents: ['b'] } }, { last: false }))
      await expect(destination.apply(at.plan(3n, {}))).rejects.toMatchObject({ sqlstate: '23503' })
      expect(await seen()).toEqual(['b', 'd', null, '3'])
    })

    it('attempts leave no trace when they fail, not even at a deferred constraint; apply commits those that held', async () => {
      const { destination } = await opened()
      const attempt = (rows: Rows) => destination.attempt([{ writes: at.writes(rows), truncate: [] }], at.plan(0n, {}).checks, false)
      await attempt({ parents: [['a', 'A']] })
      await expect(attempt({ parents: [['x', 'X']], ...failing })).rejects.toMatchObject({ sqlstate: '23503' })
      await expect(attempt({ parents: [['y', 'A']] })).rejects.toMatchObject({ sqlstate: '23505' })
      await attempt({ children: [['c', 'a']] })
      expect(await seen()).toEqual([null, null, null, '0'])
      await destination.apply(at.plan(0n, {}, { parts: [] }))
      expect(await seen()).toEqual(['a', 'c', null, '1'])
    })

    it('a second writer is refused while one runs, and may take over when it says so; the older one is FENCED', async () => {
      const older = await opened()
      await older.destination.apply(at.plan(0n, { parents: [['a', 'A']] }))
      const refused = at.make()
      await expect(refused.destination.open()).rejects.toMatchObject({ code: 'RUNNING' })
      expect((await opened({ pipeline: 'other' })).checkpoint.phase).toBe('new')
      const newer = await opened({ takeover: true })
      expect(newer.checkpoint.commitLsn).toBe(1n)
      await expect(older.destination.apply(at.plan(1n, { parents: [['b', 'B']] }, { decisions: [decision('b')] })))
        .rejects.toMatchObject({ code: 'FENCED' })
      expect(await seen()).toEqual(['a', null, null, '1'])
      await newer.destination.apply(at.plan(1n, { parents: [['c', 'C']] }))
      expect(await seen()).toEqual(['a c', null, null, '2'])
    })

    it('a writer that was taken over while its transaction was open commits nothing', async () => {
      const older = await opened()
      await older.destination.apply(at.plan(0n, { parents: [['a', 'A']] }, { last: false }))
      await opened({ takeover: true })
      // Its connection was ended, for it held rows locked; when it comes back it is told why.
      await expect(older.destination.apply(at.plan(0n, {}))).rejects.toMatchObject({ code: 'REMOTE' })
      await expect(older.destination.open()).rejects.toMatchObject({ code: 'FENCED' })
      expect(await seen()).toEqual([null, null, null, '0'])
    })

    it('a writer that has gone makes room', async () => {
      await (await opened()).close()
      expect((await opened()).checkpoint.phase).toBe('new')
    })

    it('match finds rows by their natural key, as the next plan will', async () => {
      const { destination } = await opened()
      const ask = (normalise: 'exact' | 'trim-lower', ...names: (string | null)[]) => destination.match({
        table: { schema: 'public', table: 'parents' }, on: [{ column: 'name', normalise }], types: ['text'], key: ['id'],
        rows: names.map((n) => [n]),
      })
      await destination.apply(at.plan(0n, { parents: [['a', 'Ada'], ['b', null], ['c\td', 'ÄÖ\\']] }))
      expect(await ask('exact', 'Ada', 'ada', null, 'ÄÖ\\')).toEqual([['a'], [], [], ['c\\td']])
      expect(await ask('trim-lower', ' ADA ', 'x', null)).toEqual([['a'], [], []])
      await destination.apply(at.plan(1n, { parents: [['e', 'new'], ['f', 'ada']] }, { last: false }))
      expect(await ask('exact', 'new')).toEqual([['e']])
      expect((await ask('trim-lower', 'ada'))[0].toSorted()).toEqual(['a', 'f'])
      await destination.undo()
      expect(await ask('exact', 'new')).toEqual([[]])
    })

    describe('chunks', () => {
      const chunk = (index: number, more: Partial<CopyChunk> = {}): CopyChunk =>
        ({
          table: { schema: 'public', table: 'parents' }, index, pass: 1, after: index === 0 ? null : [`k\\t${index}`, 'ü"'], upTo: null,
          done: false, ...more,
        })
      const finish = (index: number): Partial<WritePlan> => ({ chunk: { table: 'public.parents', pass: 1, index, rows: 1, since: null } })

      it('are made once and kept, and done with the plan that completes them', async () => {
        const { destination, close } = await opened()
        const list = [chunk(0), chunk(1), chunk(0, { pass: 2, after: null })]
        expect(await destination.chunks(async () => list)).toEqual(list)
        const never = () => Promise.reject(new Error('made twice'))
        await expect(destination.apply(at.plan(0n, failing, finish(1)))).rejects.toMatchObject({ sqlstate: '23503' })
        expect(await destination.chunks(never)).toEqual(list)
        await destination.apply(at.plan(0n, { parents: [['a', 'A']] }, finish(1)))
        const after = [list[0], { ...list[1], done: true }, list[2]]
        expect(await destination.chunks(never)).toEqual(after)
        expect(await seen()).toEqual(['a', null, null, '0'])
        await close()
        expect(await (await opened()).destination.chunks(never)).toEqual(after)
      })

      it('a writer that was taken over completes none', async () => {
        const older = await opened()
        await older.destination.chunks(async () => [chunk(0)])
        const newer = await opened({ takeover: true })
        await expect(older.destination.apply(at.plan(0n, { parents: [['a', 'A']] }, finish(0)))).rejects.toMatchObject({ code: 'FENCED' })
        expect((await newer.destination.chunks(async () => [])).map((c) => c.done)).toEqual([false])
        expect((await seen())[0]).toBe(null)
      })
    })

    it('a lost connection rejects what is under way as REMOTE, and opening again goes on at the checkpoint', async () => {
      const { destination } = await opened()
      await destination.apply(at.plan(0n, { parents: [['a', 'A']] }))
      await destination.apply(at.plan(1n, { parents: [['b', 'B']] }, { last: false }))
      await at.db.query(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like 'rekey%'`)
      await sleep(50)
      await expect(destination.apply(at.plan(1n, {}))).rejects.toMatchObject({ code: 'REMOTE' })
      expect(await destination.open()).toMatchObject({ commitLsn: 1n })
      await destination.apply(at.plan(1n, { parents: [['c', 'C']] }))
      expect(await seen()).toEqual(['a c', null, null, '2'])
    })
  })
}

const host: Server = await server(16, 'destination')
for (const checks of ['engine', 'set'] satisfies Checks[]) {
  destinationContract(`Postgres, checks: ${checks}`, () => destinationFixture(host, checks))
}
