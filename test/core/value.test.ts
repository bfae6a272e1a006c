import { describe, expect, test } from 'vitest'
import { evaluateExpression } from '../../src/core/expression.ts'
import { parseJsonPath } from '../../src/core/json/path.ts'
import type { JsonEdit, ValueMap } from '../../src/core/mapping.ts'
import { parseTemplate, Unmatched } from '../../src/core/template.ts'
import { columnsOf, referencesOf, rewriteValue } from '../../src/core/value.ts'

const project = '0b2c1f6e-0000-4000-8000-000000000001'
const node = '7a7a7a7a-0000-4000-8000-000000000002'
const PREFIX: Record<string, string> = { users: 'usr', groups: 'grp', wallets: 'wal', projects: 'prj', nodes: 'nod', runs: 'run',
  conversations: 'cnv' }

/** Integer keys for some entities, uuids for the others: what is not of the entity's shape has no id. */
function idOf(entity: string, key: string): string | null {
  const shape = ['projects', 'nodes', 'conversations'].includes(entity) ? /^[0-9a-f-]{36}$/ : /^[0-9]+$/
  return shape.test(key) ? `${PREFIX[entity]}-${key}` : null
}
function rewrite(map: ValueMap, text: string | null, columns: Record<string, string | null> = {}): string | null {
  const value = text === null ? null : Buffer.from(text)
  return rewriteValue(map, value, { column: (name) => columns[name] ?? null, idOf })?.toString() ?? null
}
const edit = (path: string, map: string | JsonEdit['map'], at: JsonEdit['at'] = 'value'): JsonEdit =>
  ({ path: parseJsonPath(path), at, map: typeof map === 'string' ? { kind: 'ref', entity: map } : map, when: null })
const json = (...edits: JsonEdit[]): Extract<ValueMap, { kind: 'json' }> => ({ kind: 'json', edits })
const template = (...texts: string[]): Extract<ValueMap, { kind: 'template' }> =>
  ({ kind: 'template', templates: texts.map(parseTemplate), strict: false })

describe('json columns', () => {
  test('a study\'s ui: keys, both spellings of a member, notes that name groups', () => {
    const map = json(edit('$.slideshow', 'nodes', 'keys'), edit('$.currentNodeId', 'nodes'), edit('$.current_node_id', 'nodes'),
      edit('$.annotations.*.attributes.recipientGid', 'groups'), edit('$.annotations.*.attributes.destinataryGid', 'groups'),
      edit('$.annotations.*.attributes.conversationId', 'conversations'))
    const text = `{"slideshow": {"${node}": {"position": 0, "instructions": "17"}}, "currentNodeId": "${node}", "current_node_id": null,`
      + ` "annotations": {"${project}": {"type": "conversation",`
      + ` "attributes": {"x": 17, "recipientGid": 17, "conversationId": "${node}"}}}}`
    expect(rewrite(map, text)).toBe(
      `{"slideshow": {"nod-${node}": {"position": 0, "instructions": "17"}}, "currentNodeId": "nod-${node}", "current_node_id": null,`
      + ` "annotations": {"${project}": {"type": "conversation",`
      + ` "attributes": {"x": 17, "recipientGid": "grp-17", "conversationId": "cnv-${node}"}}}}`)
    expect(rewrite(map, '{"slideshow":{},"currentNodeId":""}')).toBe('{"slideshow":{},"currentNodeId":""}')
  })
  test('an adjacency list: keys and the arrays behind them', () => {
    const map = json(edit('$', 'nodes', 'keys'), edit('$.*[*]', 'nodes'))
    expect(rewrite(map, `{"${node}": ["${project}"],"${project}":[]}`)).toBe(`{"nod-${node}": ["nod-${project}"],"nod-${project}":[]}`)
  })
  test('file links; look-alike numbers and texts stay', () => {
    const map = json(edit('$.*.nodeUuid', 'nodes'), edit('$.*.path', template('api/{rest*}', '{projects}/{nodes}/{rest*}')))
    expect(rewrite(map, `{"in_1":{"nodeUuid":"${node}","output":"out_1"},`
      + `"in_2":{"store":0,"path":"${project}/${node}/a/b.vtk"},"in_3":17,"in_4":"${node}"}`))
      .toBe(`{"in_1":{"nodeUuid":"nod-${node}","output":"out_1"},`
        + `"in_2":{"store":0,"path":"prj-${project}/nod-${node}/a/b.vtk"},"in_3":17,"in_4":"${node}"}`)
    expect(rewrite(map, `{"a":{"store":"1","path":"N:package:${node}"}}`)).toBe(`{"a":{"store":"1","path":"N:package:${node}"}}`)
  })
  test('keys that hold ids in other text', () => {
    const map = json(edit('$', template('prj-ntwrk_{projects}_{rest}'), 'keys'), edit('$.*', 'nodes', 'keys'))
    expect(rewrite(map, `{"prj-ntwrk_${project}_net":{"${node}":"alias"}}`))
      .toBe(`{"prj-ntwrk_prj-${project}_net":{"nod-${node}":"alias"}}`)
  })
  test('two edits on both halves of a location', () => {
    const map = json(edit('$[*].loc[0]', 'projects'), edit('$[*].loc[1]', 'nodes'))
    expect(rewrite(map, `[{"loc":["${project}","${node}"],"msg":"17"}]`)).toBe(`[{"loc":["prj-${project}","nod-${node}"],"msg":"17"}]`)
  })
})

describe('text columns', () => {
  test('ids of runs, jobs and files', () => {
    const runs = template('comp_{users}_{projects}_{nodes}_{rest}')
    expect(rewrite(runs, `comp_17_${project}_${node}_3`)).toBe(`comp_usr-17_prj-${project}_nod-${node}_3`)
    expect(rewrite(runs, `1700000000_${node}`)).toBe(`1700000000_${node}`)
    const jobs = template('{rest:service}:{rest:version}:userid_{users}:projectid_{projects}:nodeid_{nodes}:uuid_{rest}')
    expect(rewrite(jobs, `simcore/services/comp/demo:1.2.3:userid_17:projectid_${project}:nodeid_${node}:uuid_${node}`))
      .toBe(`simcore/services/comp/demo:1.2.3:userid_usr-17:projectid_prj-${project}:nodeid_nod-${node}:uuid_${node}`)
    const files = template('exports/{users}/{rest*}', 'api/{rest*}', '{projects}/{nodes}/{rest*}')
    expect(rewrite(files, `exports/17/${node}.zip`)).toBe(`exports/usr-17/${node}.zip`)
    expect(rewrite(files, `api/${node}/17.csv`)).toBe(`api/${node}/17.csv`)
    expect(rewrite(files, `${project}/${node}/${project}/17 ü%+.txt`)).toBe(`prj-${project}/nod-${node}/${project}/17 ü%+.txt`)
    const collections = template('system-generated/{projects}/{rest}', 'migration-generated-{runs}')
    expect(rewrite(collections, 'migration-generated-17')).toBe('migration-generated-run-17')
    expect(rewrite(collections, 'my migration-generated-17')).toBe('my migration-generated-17')
  })
  test('a strict rule refuses text that it does not know, and says nothing of it', () => {
    const map = { ...template('x-{users}'), strict: true }
    expect(() => rewrite(map, 'secret')).toThrow(Unmatched)
    expect(() => rewrite(map, 'secret')).not.toThrow('secret')
  })
  test('JSON in a text column; text that is not JSON is kept', () => {
    const map = json(edit('$.user', 'users'))
    expect(rewrite(map, '{"user": 17, "x": 1.50}')).toBe('{"user": "usr-17", "x": 1.50}')
    for (const text of ['', 'a note on {17}', '[draft]', '{"user": 17']) expect(rewrite(map, text)).toBe(text)
  })
  test('a whole value, an array', () => {
    expect(rewrite({ kind: 'ref', entity: 'groups' }, '23')).toBe('grp-23')
    expect(rewrite({ kind: 'ref', entity: 'groups' }, 'twenty-three')).toBe('twenty-three')
    expect(rewrite({ kind: 'array', entity: 'nodes' }, `{${node},NULL,"x y"}`)).toBe(`{nod-${node},NULL,"x y"}`)
    expect(rewrite({ kind: 'copy' }, '23')).toBe('23')
  })
})

describe('case', () => {
  const payload: ValueMap = {
    kind: 'case', column: 'preference_name', otherwise: { kind: 'copy' },
    cases: [{ equals: ['PreferredWalletId'], map: json(edit('$.value', 'wallets')) }, { equals: ['Cleared'], map: { kind: 'constant',
      value: null } }],
  }
  test('the other column decides', () => {
    expect(rewrite(payload, '{"value": 17}', { preference_name: 'PreferredWalletId' })).toBe('{"value": "wal-17"}')
    expect(rewrite(payload, '{"value": null}', { preference_name: 'PreferredWalletId' })).toBe('{"value": null}')
    expect(rewrite(payload, '{"value": 17}', { preference_name: 'JobConcurrency' })).toBe('{"value": 17}')
    expect(rewrite(payload, '{"value": 17}', { preference_name: null })).toBe('{"value": 17}')
    expect(rewrite(payload, '{"value": 17}', { preference_name: 'Cleared' })).toBe(null)
  })
})

describe('null, constants, expressions', () => {
  test('null passes through all but constants and expressions', () => {
    for (const map of [{ kind: 'copy' }, { kind: 'ref', entity: 'users' }, { kind: 'array', entity: 'users' }, template('x{users}'),
      json(edit('$', 'users'))] as ValueMap[]) {
      expect(rewrite(map, null)).toBe(null)
    }
    expect(rewrite({ kind: 'constant', value: 'a' }, null)).toBe('a')
    expect(rewrite({ kind: 'constant', value: null }, 'a')).toBe(null)
    expect(rewrite({ kind: 'expression', parts: [{ kind: 'column', column: 'x', functions: [] }] }, null)).toBe('')
  })
  test('functions run in order, a null column is empty text', () => {
    const parts = [
      { kind: 'literal', text: 'a:' }, { kind: 'column', column: 'name', functions: ['trim', 'upper'] }, { kind: 'literal', text: '/' },
      { kind: 'column', column: 'gone', functions: ['lower'] },
    ] as const
    expect(evaluateExpression(parts, (name) => (name === 'name' ? '  Ada \t L  ' : null))).toBe('a:ADA \t L/')
  })
})

describe('what a map needs', () => {
  test('entities and columns, each once, from all depths', () => {
    const inner = json(edit('$.a', 'users'), edit('$.b', template('{projects}/{nodes}/{rest}')), edit('$.c', json(edit('$', 'wallets'))))
    const map: ValueMap = {
      kind: 'case', column: 'kind', otherwise: { kind: 'expression', parts: [{ kind: 'column', column: 'name', functions: [] },
        { kind: 'literal', text: 'x' }] },
      cases: [{ equals: ['a'], map: inner }, { equals: ['b'], map: { kind: 'case', column: 'kind', cases: [], otherwise: { kind: 'ref',
        entity: 'users' } } }],
    }
    expect(referencesOf(map)).toEqual(['users', 'projects', 'nodes', 'wallets'])
    expect(columnsOf(map)).toEqual(['kind', 'name'])
    expect(referencesOf({ kind: 'constant', value: '1' })).toEqual([])
    expect(columnsOf({ kind: 'array', entity: 'users' })).toEqual([])
  })
  test('a walk that only collects changes nothing and returns the same bytes', () => {
    const value = Buffer.from('{"user":17}')
    const seen: string[] = []
    const out = rewriteValue(json(edit('$.user', 'users')), value, {
      column: () => null,
      idOf: (entity, key) => {
        seen.push(`${entity} ${key}`)
        return null
      },
    })
    expect(out).toBe(value)
    expect(seen).toEqual(['users 17'])
  })
})
