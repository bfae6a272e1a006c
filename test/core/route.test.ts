import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { partitionFor, router } from '../../src/core/route.ts'
import { rootsOf, toldOfSeveral } from '../../src/core/roots.ts'
import { rawField } from '../../src/core/row.ts'
import type { TableSpec } from '../../src/core/compile/mapping-source.ts'
import { catalog, table } from '../support/catalog-literals.ts'
import { deleteOf, insertOf, relation, transaction, truncateOf, updateOf } from '../support/core-literals.ts'

const projects = table('projects', { columns: { id: 'bigint', name: 'text' } })
const tasks = table('tasks', { columns: { id: 'bigint', project_id: 'bigint null' }, refs: { project_id: 'projects.id' }, more: { identity: 'f' } })
const notes = table('notes', { columns: { task_id: 'bigint', n: 'integer', project_id: 'bigint' }, key: ['task_id', 'n'], refs: { task_id: 'tasks.id' } })

function roots(tables: Record<string, TableSpec>, source = [projects, tasks, notes]) {
  return rootsOf({
    application: 'test', digest: '', schemas: { source: 'public', destination: 'public' }, defaults: {}, entities: {}, tables,
    contexts: [{ name: 'all', tables: source.map((t) => t.table) }],
  }, catalog(source))
}

const PARTITIONS = 16
const PROJECT = relation('projects', ['id', 'name'])
const TASK = { ...relation('tasks', ['id', 'project_id'], ['id', 'project_id']), identity: 'f' as const }
const route = router(roots({ tasks: { root: 'project_id' } }).roots, PARTITIONS)
const only = (...changes: Parameters<typeof transaction>[0][number][]): number => {
  const parts = route(transaction(changes))
  if (parts === 'alone') throw new Error('it goes alone')
  expect(parts.size).toBe(1)
  return [...parts.keys()][0]
}

describe('declared roots', () => {
  it('a table without one is its own root', () => {
    expect(roots({}).roots.get('public.notes')).toEqual({ of: 'public.notes', column: null, key: ['task_id', 'n'], alone: false })
  })

  it.each([
    ['a column that is not there', { tasks: { root: 'nothing' } }, 'public.tasks has no column nothing'],
    ['one that refers to nothing', { notes: { root: 'n' } }, 'n refers to no table by a key of one column'],
    ['one that a delete does not tell', { notes: { root: 'project_id', columns: { project_id: { ref: 'projects' } } } },
      'a delete of public.notes does not say its project_id'],
    ['a row that goes with another one itself', { tasks: { root: 'project_id' }, notes: { root: 'task_id' } },
      'public.tasks is no root itself: its rows go with those of public.projects'],
  ] as const)('refuses %s', (_, tables, message) => {
    expect(roots(tables).problems.map((p) => p.message)).toEqual([message])
  })

  it('takes a column that is part of the key, and one with a ref under REPLICA IDENTITY FULL', () => {
    const full = { ...notes, identity: 'f' as const }
    const found = roots({ notes: { root: 'project_id', columns: { project_id: { ref: 'projects' } } } }, [projects, tasks, full])
    expect([found.problems, found.roots.get('public.notes')?.of]).toEqual([[], 'public.projects'])
    expect(roots({ notes: { root: 'task_id' } }).problems).toEqual([])
  })
})

describe('the way of a change', () => {
  it('rows go where their root goes, whatever happens to them', () => {
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.integer(), (project, id) => {
      const [p, t] = [String(project), String(id)]
      const to = only(insertOf(PROJECT, [p, 'x']))
      expect(only(updateOf(PROJECT, [p, 'y']), deleteOf(PROJECT, [p, null]))).toBe(to)
      expect(only(insertOf(TASK, [t, p]), updateOf(TASK, [t, p], [t, p], true), deleteOf(TASK, [t, p], true))).toBe(to)
    }))
  })

  it('a row without a root goes with its own key', () => {
    expect(only(insertOf(TASK, ['7', null]))).toBe(partitionFor('public.tasks\n7', PARTITIONS))
  })

  it('the order within a partition is that of the transaction, and nothing is lost', () => {
    fc.assert(fc.property(fc.array(fc.nat(50)), (ids) => {
      const changes = ids.map((id, n) => updateOf(PROJECT, [String(id), String(n)]))
      const parts = route(transaction(changes)) as ReadonlyMap<number, typeof changes>
      expect([...parts.values()].flat().length).toBe(changes.length)
      for (const part of parts.values()) expect(part.map((c) => changes.indexOf(c))).toEqual(part.map((c) => changes.indexOf(c)).sort((a, b) => a - b))
    }))
  })

  it('a row has all of its changes in one partition, or the transaction goes alone', () => {
    const change = fc.tuple(fc.boolean(), fc.nat(4), fc.nat(6)).map(([isNew, id, project]) => (
      isNew ? insertOf(TASK, [String(id), String(project)]) : deleteOf(TASK, [String(id), String(project)], true)))
    fc.assert(fc.property(fc.array(change, { maxLength: 6 }), (changes) => {
      const parts = route(transaction(changes))
      const partitionsOf = (id: string): number => new Set(changes.filter((c) => rawField((c.row ?? c.old)!, 0) === id).map((c) => only(c))).size
      const isTorn = ['0', '1', '2', '3', '4'].some((id) => partitionsOf(id) > 1)
      expect(parts === 'alone').toBe(isTorn)
    }))
  })

  it.each([
    ['a truncate', transaction([truncateOf(PROJECT)])],
    ['a key that changes', transaction([updateOf(PROJECT, ['2', 'x'], ['1', null])])],
    ['a row that goes to another root', transaction([updateOf(TASK, ['1', '2'], ['1', '1'], true)])],
    ['a row that is deleted and comes back with another root', transaction([deleteOf(TASK, ['1', '1'], true), insertOf(TASK, ['1', '2'])])],
    ['one that comes, goes and comes back with another', transaction([insertOf(PROJECT, ['9', 'x']), insertOf(TASK, ['1', '1']), deleteOf(TASK, ['1', '1'], true), insertOf(TASK, ['1', '2'])])],
    ['a fragment', transaction([insertOf(PROJECT, ['1', 'x'])], { last: false })],
    ['the last fragment', transaction([insertOf(PROJECT, ['1', 'x'])], { first: 3 })],
  ])('%s goes alone, with all of its transaction', (_, t) => {
    expect(route(t)).toBe('alone')
  })

  it('what changes an adopted row, or a row for which triggers make them, goes alone, with the whole of its transaction', () => {
    const adopting = router(roots({ tasks: { adopt: { by: 'projects', column: 'task_id' } } }).roots, PARTITIONS)
    const NOTE = relation('notes', ['task_id', 'n', 'project_id'], ['task_id', 'n'])
    expect(adopting(transaction([insertOf(NOTE, ['1', '1', '1'])]))).not.toBe('alone')
    for (const change of [insertOf(TASK, ['1', '1']), deleteOf(TASK, ['1', '1']), updateOf(PROJECT, ['1', 'x'])]) {
      expect(adopting(transaction([change]))).toBe('alone')
      expect(adopting(transaction([insertOf(NOTE, ['1', '1', '1']), change]))).toBe('alone')
    }
  })

  it('answers that topics hold never change', () => {
    expect(['', 'public.users\n1', 'public.users\n2', 'public.users\n-9223372036854775808'].map((text) => partitionFor(text, 1000)))
      .toEqual([923, 413, 814, 736])
  })
})

it('what makes partitions wait for each other is warned of: filters where rows do not come whole, and adopted rows', () => {
  const spec = (tables: Record<string, TableSpec>) => toldOfSeveral({
    application: 'test', digest: '', schemas: { source: 'public', destination: 'public' }, defaults: {}, entities: {}, tables, contexts: [] }, catalog([projects, tasks, notes]))
  const found = spec({ projects: { where: { name: ['a'] } }, tasks: { where: { id: ['1'] }, adopt: { by: 'projects', column: 'task_id' } }, notes: { root: 'project_id' } })
  expect(found.map(({ severity, code, where, fix }) => [severity, code, where, fix])).toEqual([
    ['warning', 'ALL_PARTITIONS', 'tables.projects.where', 'alter table public.projects replica identity full, where that happens often'],
    ['warning', 'ALL_PARTITIONS', 'tables.tasks.adopt', 'Nothing, where few do; where most do, kafka.partitions: 1 is as fast.'],
  ])
  expect(spec({ notes: { root: 'project_id' } })).toEqual([])
})
