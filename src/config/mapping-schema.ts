import { z } from 'zod'
import type { ColumnSpec, JsonEditSpec, MapSpec } from '../core/compile/mapping-source.ts'

const name = z.string().min(1)
const reason = z.string().trim().min(3, 'say why in a few words')
const scalar = z.union([z.string(), z.int(), z.boolean()],
  { error: 'expected text, a whole number or true/false; put other values in quotes' })
const oneOrMore = z.union([scalar, z.array(scalar).min(1)], { error: 'expected a value or a list of values' })
const templates = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], { error: 'expected a template or a list of templates' })

/** One column and its values, as in `when: {type: [A, B]}`. */
const siblings = z.record(name, oneOrMore).refine((r) => Object.keys(r).length === 1, 'name exactly one column')

const prefix = z.string().regex(/^[a-z]([a-z_]{0,18}[a-z])?$/, '1 to 20 of a-z and _, not at the ends')
  .describe('What ids of this entity begin with: `usr` gives usr_…')

const PREFIXED = ['prefixed', 'random', 'literal']
const idObject = z.strictObject({
  id: z.enum(['prefixed', 'random', 'literal', 'offset', 'keep']).default('prefixed'),
  form: z.enum(['ordered', 'opaque']).optional().describe('ordered (default, integer keys) or opaque (any key)'),
  prefix: prefix.optional(),
  by: z.union([z.int(), z.string().regex(/^-?\d+$/)], { error: 'expected a whole number' }).optional(),
}).check((ctx) => {
  const { id, form, prefix: given, by } = ctx.value
  const say = (path: string, message: string): void => void ctx.issues.push({ code: 'custom', path: [path], message, input: undefined })
  if (PREFIXED.includes(id) && given === undefined) say('prefix', `is needed with id: ${id}`)
  if (!PREFIXED.includes(id) && given !== undefined) say('prefix', `has no meaning with id: ${id}`)
  if ((id === 'offset') !== (by !== undefined)) say('by', id === 'offset' ? 'is needed with id: offset' : `has no meaning with id: ${id}`)
  if (form !== undefined && id !== 'prefixed') say('form', `has no meaning with id: ${id}`)
})
/** How ids are made. `keep` alone stands for {id: keep}. */
const idSpec = z.union([z.literal('keep').transform(() => ({ id: 'keep' as const })), idObject],
  { error: 'expected keep, or {prefix: usr} and the like' })

const keep = z.union([z.enum(['destination', 'source', 'fill-empty']), z.strictObject({ newest: name })],
  { error: 'expected destination, source, fill-empty or {newest: column}' })

const url = z.strictObject({ from: z.string().min(1), to: z.string().min(1) })
  .describe('The text before the key, as it is at the source and as it becomes')

const jsonEdit: z.ZodType<JsonEditSpec, JsonEditSpec> = z.lazy(() => z.strictObject({
  path: name.optional().describe('Where the value is: $.a.b, $.list[*], $.*.owner, $..id'),
  keys: name.optional().describe('Where the object is whose member names change'),
  ref: name.optional(),
  template: templates.optional(),
  object: name.optional(),
  url: url.optional(),
  strict: z.boolean().optional(),
  json: z.array(jsonEdit).min(1).optional().describe('Edits in JSON text inside a JSON string'),
  when: siblings.optional().describe('Only where this sibling has this text'),
}).check((ctx) => {
  exactlyOne(ctx, ['path', 'keys'])
  exactlyOne(ctx, ['ref', 'template', 'object', 'json'])
  checkTexts(ctx)
})).meta({ id: 'JsonEdit' })

const MAPS = ['ref', 'array', 'template', 'object', 'json', 'by', 'constant', 'expression'] as const

const mapShape = {
  ref: name.optional().describe('The whole value is a key of this entity'),
  array: name.optional().describe('A Postgres array whose elements are keys of this entity'),
  template: templates.optional().describe('Text with ids in it, e.g. comp_{users}_{rest}; the first that matches is used'),
  object: name.optional().describe('The key of an object in this store, rewritten by the templates of the store'),
  url: url.optional(),
  strict: z.boolean().optional().describe('Text that matches no template parks the row, instead of being kept'),
  json: z.array(jsonEdit).min(1).optional().describe('Places in a json or jsonb value'),
  by: name.optional().describe('The source column that says what this one refers to'),
  cases: z.lazy(() => z.record(z.string(), nestedMap)).optional(),
  otherwise: z.lazy(() => nestedMap).optional().describe('What happens to values of no case; must be said'),
  constant: z.string().nullable().optional().describe('This text (in quotes) or null in every row'),
  expression: z.string().optional().describe('Text of source columns: "{first} {last|upper}"; functions lower, upper, trim'),
  when: siblings.optional().describe('Only in rows where this source column has this value'),
}

const nestedMap: z.ZodType<'copy' | MapSpec, 'copy' | MapSpec> = z.lazy(() => z.union([
  z.literal('copy'),
  z.strictObject(mapShape).check((ctx) => {
    exactlyOne(ctx, MAPS)
    checkMap(ctx)
  }),
], { error: 'expected copy or a map such as {ref: users}' })).meta({ id: 'Map' })

const columnSpec: z.ZodType<ColumnSpec, ColumnSpec> = z.strictObject({
  ...mapShape,
  to: name.optional().describe('Destination column, if named otherwise'),
  drop: reason.optional().describe('Why this column is not carried'),
  keep: keep.optional().describe('What a merged row keeps in this column'),
  whenMerged: z.enum(['keep', 'skip']).optional().describe('What becomes of a row whose parent by this column was merged'),
}).check((ctx) => {
  const given = MAPS.filter((k) => ctx.value[k] !== undefined)
  if (given.length > 1) say(ctx, given[1]!, `cannot stand beside ${given[0]}`)
  if (given.length === 0 && ctx.value.when !== undefined) say(ctx, 'when', 'needs a ref, array, template, object or json beside it')
  if (ctx.value.drop !== undefined && Object.values(ctx.value).filter((v) => v !== undefined).length > 1) say(ctx, 'drop', 'stands alone')
  checkMap(ctx)
}).meta({ id: 'Column' })

const values = z.union([scalar, z.null(), z.array(scalar).min(1)])
const condition = z.union([...values.options, z.strictObject({ not: values })],
  { error: 'expected a value, a list of values, null, or {not: …}' })

const objectSpec = z.strictObject({
  store: name.describe('A store under `objects` of the mapping'),
  key: name.describe('The column with the key, or text of columns: "{folder}/{name}"'),
  url: z.string().min(1).optional().describe('The key follows this text in the value, percent-encoded; other values name no object'),
  where: z.record(name, condition).optional().describe('A row names the object only if all hold'),
  directory: z.record(name, condition).optional().describe('The key is a prefix, whose objects go with the row, if all hold'),
  version: z.array(name).min(1).optional().describe('Columns that change when the object does'),
  size: name.optional().describe('The column with the size in bytes'),
  when: z.enum(['with', 'before']).optional()
    .describe('with (default): row and object go their own ways; before: the row waits until its object is verified'),
}).meta({ id: 'Object' })

const tableSpec = z.strictObject({
  verdict: z.enum(['move', 'merge', 'skip', 'assert']).optional()
    .describe('move (default), merge by `on`, skip with a reason, assert equal'),
  reason: reason.optional().describe('Why the table is skipped'),
  to: name.optional().describe('Destination table, if named otherwise'),
  key: z.array(name).min(1).optional().describe('Source columns that identify a row, for tables without a primary key'),
  root: name.optional().describe('Source column with the key of the row that this one goes with (a task with its project), for kafka.partitions'),
  on: z.array(z.union([name, z.array(name).min(1)], { error: 'expected a column or a list of columns' })).min(1).optional()
    .describe('Natural keys, tried in order: [lower(email)] or [[name], [owner, product]]'),
  keep: keep.optional().describe('What columns of a merged row keep if they do not say it themselves (default destination)'),
  pinned: z.union([
    z.record(name, scalar),
    z.array(z.strictObject({ source: z.array(scalar).min(1), destination: z.array(scalar).min(1) })),
  ], { error: 'expected {source key: destination key} or a list of {source, destination}' }).optional()
    .describe('Rows that are never written, and what they are at the destination'),
  rename: z.record(name, z.strictObject({ unique: z.array(name).min(1).optional(), separator: z.string().max(5).optional() })).optional()
    .describe('Destination columns that get a suffix when their unique key is taken by something else'),
  where: z.record(name, condition).optional().describe('Only rows for which all hold are carried'),
  adopt: z.strictObject({ by: name, column: name.optional(), on: z.array(name).min(1).optional() })
    .check((ctx) => exactlyOne(ctx, ['column', 'on'])).optional()
    .describe('A destination trigger on inserts into `by` makes these rows: found through its `column` that points at them, or by their own columns `on`'),
  triggers: z.enum(['fire', 'off']).optional(),
  truncate: z.enum(['refuse', 'owned', 'ignore']).optional(),
  notAnId: z.array(name).min(1).optional().describe('Columns that look like ids of this system and are not'),
  former: z.record(name, name.nullable()).optional()
    .describe('Columns that the source table had while the run was under way: {old name: its name now}, or {old name: null} where it is gone'),
  added: z.array(name).min(1).optional()
    .describe('Columns that the source table got while the run was under way: earlier changes leave them alone at the destination'),
  columns: z.record(name, columnSpec).optional(),
  objects: z.array(objectSpec).min(1).optional().describe('Objects that each row names'),
}).check((ctx) => {
  const { verdict, reason: why, on } = ctx.value
  const pair = (key: string, given: unknown, needed: string): void => {
    const relation = verdict === needed ? 'is needed with' : 'belongs to'
    if ((verdict === needed) !== (given !== undefined)) say(ctx, key, `${relation} verdict: ${needed}`)
  }
  pair('reason', why, 'skip')
  pair('on', on, 'merge')
}).meta({ id: 'Table' })

const parts = { entities: z.record(name, idSpec).optional(), tables: z.record(name, tableSpec).optional() }

/** Every file beside mapping.yaml: more entities and tables. */
export const mappingPartSchema = z.strictObject(parts)

/** The file mapping.yaml. */
export const mappingSchema = z.strictObject({
  application: z.string().regex(/^[a-z][a-z0-9_-]{0,39}$/, 'a-z, 0-9, _ and -, at most 40'),
  schemas: z.strictObject({ source: name.default('public'), destination: name.default('public') }).prefault({})
    .describe('Schemas of tables that are named without one; a table with a dot in its name is always written with its schema'),
  contexts: z.array(z.strictObject({ name, tables: z.array(name).min(1) })).min(1).describe('Applied in this order, each with a gate'),
  defaults: z.strictObject({
    id: idSpec.optional(),
    triggers: z.enum(['fire', 'off']).optional(),
    truncate: z.enum(['refuse', 'owned', 'ignore']).optional(),
  }).prefault({}),
  objects: z.record(z.string().regex(/^[a-z0-9_-]{1,40}$/, '1 to 40 of a-z, 0-9, _ and -'), z.strictObject({
    to: name.optional().describe('Store of the destination; default: the same name'),
    keys: templates.describe('How keys change, e.g. {projects}/{nodes}/{rest*}; tried in order'),
    sweep: z.array(z.string()).min(1).optional().describe('Prefixes whose objects are carried though no row names them; "" is all'),
  })).optional().describe('Stores of rekey.yaml whose objects are carried, by the name of the source store'),
  ...parts,
})

interface Check {
  readonly value: object
  readonly issues: { push(issue: any): number }
}

function say(ctx: Check, key: string, message: string): void {
  ctx.issues.push({ code: 'custom', path: [key], message, input: undefined })
}

function exactlyOne(ctx: Check, keys: readonly string[]): void {
  const given = keys.filter((k) => (ctx.value as Record<string, unknown>)[k] !== undefined)
  if (given.length === 0) ctx.issues.push({ code: 'custom', path: [], message: `needs one of ${keys.join(', ')}`, input: undefined })
  if (given.length > 1) say(ctx, given[1]!, `cannot stand beside ${given[0]}`)
}

function checkMap(ctx: Check): void {
  const v = ctx.value as MapSpec
  if (v.by === undefined && v.cases !== undefined) say(ctx, 'cases', 'needs by: the column that decides')
  if (v.by === undefined && v.otherwise !== undefined) say(ctx, 'otherwise', 'needs by: the column that decides')
  if (v.by !== undefined && v.cases === undefined) say(ctx, 'cases', 'is needed with by')
  if (v.by !== undefined && v.otherwise === undefined) say(ctx, 'otherwise', 'is needed with by: say `copy` or what else')
  checkTexts(ctx)
  const made = v.constant !== undefined || v.expression !== undefined
  if (v.when !== undefined && made) say(ctx, 'when', 'does not go with constant or expression')
}

function checkTexts(ctx: Check): void {
  const v = ctx.value as MapSpec
  if (v.strict !== undefined && v.template === undefined && v.object === undefined) say(ctx, 'strict', 'belongs to template or object')
  if (v.url !== undefined && v.object === undefined) say(ctx, 'url', 'belongs to object')
}
