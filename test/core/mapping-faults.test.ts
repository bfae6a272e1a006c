import { describe, expect, it, test } from 'vitest'
import { parseMapping } from '../../src/config/mapping-files.ts'
import { compileMapping } from '../../src/core/compile/compile.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { catalog, table } from '../support/catalog-literals.ts'

const parse = (...texts: string[]) => parseMapping('m', new Map(texts.map((text, i) => [i === 0 ? 'mapping.yaml' : `part${i}.yaml`, text])))

function refused(...texts: string[]): string[] {
  try {
    parse(...texts)
  } catch (error) {
    if (error instanceof RekeyError && error.code === 'MAPPING') return error.message.split('\n')
    throw error
  }
  throw new Error('nothing was refused')
}

test('comments that leave something to decide are found, with their lines', () => {
  const { todos } = parse('# first\napplication: x # todo: not this one\n  # todo: this one\ncontexts: [{ name: a, tables: [users] }]\n',
    'tables:\n  # TODO: and this\n  users: {}\n')
  expect(todos).toEqual([{ place: 'm/mapping.yaml:3', text: 'todo: this one' }, { place: 'm/part1.yaml:2', text: 'TODO: and this' }])
})

describe('faults of a mapping file', () => {
  const HEAD = 'application: x\ncontexts: [{ name: a, tables: [users] }]\n'
  it.each([
    ['tables: { users: { columns: { email: { kep: source } } } }', ['m/mapping.yaml:3 tables.users.columns.email.kep: unknown key']],
    ['tables: { users: { columns: { email: { keep: sorce } } } }',
      ['m/mapping.yaml:3 tables.users.columns.email.keep: expected destination, source, fill-empty or {newest: column}']],
    ['tables: { users: { columns: { email: { keep: { newst: a } } } } }',
      ['m/mapping.yaml:3 tables.users.columns.email.keep.newest: is needed',
        'm/mapping.yaml:3 tables.users.columns.email.keep.newst: unknown key']],
    ['tables: { users: { verdict: skip } }', ['m/mapping.yaml:3 tables.users.reason: is needed with verdict: skip']],
    ['tables: { users: { on: [a] } }', ['m/mapping.yaml:3 tables.users.on: belongs to verdict: merge']],
    ['tables: { users: { columns: { a: { ref: users, array: users } } } }',
      ['m/mapping.yaml:3 tables.users.columns.a.array: cannot stand beside ref']],
    ['tables: { users: { columns: { a: { by: b, cases: { x: { rf: y } } } } } }', [
      'm/mapping.yaml:3 tables.users.columns.a.cases.x.rf: unknown key',
      'm/mapping.yaml:3 tables.users.columns.a.cases.x: needs one of ref, array, template, object, json, by, constant, expression',
    ]],
    ['tables: { users: { columns: { a: { by: b, cases: { x: copy } } } } }',
      ['m/mapping.yaml:3 tables.users.columns.a.otherwise: is needed with by: say `copy` or what else']],
    ['tables: { users: { columns: { a: { json: [{ path: $.a, keys: $.b, ref: users }] } } } }',
      ['m/mapping.yaml:3 tables.users.columns.a.json.0.keys: cannot stand beside path']],
    ['tables: { users: { columns: { a: { drop: because, to: b } } } }', ['m/mapping.yaml:3 tables.users.columns.a.drop: stands alone']],
    ['tables: { users: { where: { a: 1.5 } } }',
      ['m/mapping.yaml:3 tables.users.where.a: expected a value, a list of values, null, or {not: …}']],
    ['entities: { users: { id: literal } }', ['m/mapping.yaml:3 entities.users.prefix: is needed with id: literal']],
    ['entities: { users: { prefix: USR } }', ['m/mapping.yaml:3 entities.users.prefix: 1 to 20 of a-z and _, not at the ends']],
    ['entities: { users: { id: offset } }', ['m/mapping.yaml:3 entities.users.by: is needed with id: offset']],
  ])('%s', (text, lines) => {
    expect(refused(`${HEAD}${text}\n`).sort()).toEqual([...lines].sort())
  })

  it('tells those of all files, and tables that two files name', () => {
    expect(refused(`${HEAD}tables: { users: {} }\n`, 'tables: { users: {} }\n', 'contexts: []\n')).toEqual([
      'm/part2.yaml:1 contexts: unknown key', 'm/part1.yaml:1 tables.users: is also in another file',
    ])
    expect(refused('{}')).toEqual(['m/mapping.yaml:1 application: is needed', 'm/mapping.yaml:1 contexts: is needed'])
  })

  it.each([
    ['template: "{users}{users}"', 'TEMPLATE tables.users.columns.a.template'],
      ['template: "{user}"', 'UNKNOWN_ENTITY tables.users.columns.a.template'],
    ['json: [{ path: a, ref: users }]', 'JSON_PATH tables.users.columns.a.json.0.path'],
    ['json: [{ keys: $.a, ref: user }]', 'UNKNOWN_ENTITY tables.users.columns.a.json.0.ref'],
    ['expression: "{a|loud}"', 'EXPRESSION tables.users.columns.a.expression'],
      ['expression: "{b}"', 'UNKNOWN_COLUMN tables.users.columns.a.expression'],
    ['expression: "{a"', 'EXPRESSION tables.users.columns.a.expression'],
      ['when: { b: 1 }, ref: users', 'UNKNOWN_COLUMN tables.users.columns.a.when'],
    ['by: b, cases: {}, otherwise: copy', 'UNKNOWN_COLUMN tables.users.columns.a.by'],
      ['array: users', 'TYPE_MISFIT tables.users.columns.a'],
  ])('reads %s, and the compiler refuses it', (text, problem) => {
    const { source: spec } = parse(`${HEAD}entities: { users: { prefix: usr } }\ntables: { users: { columns: { a: { ${text} } } } }\n`)
    const users = (id: string) => catalog([table('users', { columns: { id, a: 'text' } })])
    expect(compileMapping(spec, users('bigint'), users('text')).problems.map((p) => `${p.code} ${p.where}`)).toEqual([problem])
  })
})
