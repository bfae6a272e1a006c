import type { CatalogColumn, CatalogTable } from '../catalog.ts'

/** Tables that belong to an application's framework: each side keeps its own. */
const FRAMEWORK = new RegExp(`^(${[
  'alembic_version', 'schema_migrations', 'ar_internal_metadata', 'django_migrations', 'django_session', 'django_content_type',
  'django_admin_log', 'auth_permission', 'flyway_schema_history', 'databasechangelog', 'databasechangeloglock', 'knex_migrations',
  'knex_migrations_lock',
  '_prisma_migrations',
  'goose_db_version', 'typeorm_metadata', 'sequelizemeta', 'spatial_ref_sys', 'pgmigrations', '__efmigrationshistory',
].join('|')})$`, 'i')

export function isFramework(table: string): boolean {
  return FRAMEWORK.test(table)
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const VOWELS = /[aeiou]/g

export function singular(word: string): string {
  if (/[^aeiou]ies$/.test(word)) return `${word.slice(0, -3)}y`
  if (/(ss|x|ch|sh)es$/.test(word)) return word.slice(0, -2)
  return /[^s]s$/.test(word) ? word.slice(0, -1) : word
}

/** The first letter of a word and consonants after it: user becomes usr. */
function skeleton(word: string, length: number): string {
  const rest = word.slice(1).replace(VOWELS, '').replace(/(.)\1+/g, '$1')
  const short = `${word[0]}${rest}`
  return (short.length >= length ? short : word).slice(0, length)
}

/** A prefix of 3 or 4 letters that no other entity has, guessed from the table's name. */
export function prefixFor(table: string, used: ReadonlySet<string>): string {
  const words = table.toLowerCase().split(/[^a-z]+/).filter((w) => w !== '').map(singular)
  if (words.length === 0) words.push('obj')
  const whole = words.join('')
  const first = words.length === 1 ? skeleton(whole, 3) : words.length === 2 ? words.map((w) => skeleton(w, 2)).join('')
    : words.slice(0, 4).map((w) => w[0]).join('')
  const candidates = [first, skeleton(whole, 4), whole.slice(0, 3), whole.slice(0, 4)].filter((p) => p.length >= 3)
  for (const letter of LETTERS) candidates.push(`${`${whole}xxx`.slice(0, 3)}${letter}`)
  for (const one of LETTERS) for (const two of LETTERS) candidates.push(`${`${whole}xx`.slice(0, 2)}${one}${two}`)
  return candidates.find((p) => !used.has(p))!
}

const GENERIC = new Set(['id', 'uuid', 'uid', 'guid', 'pk', 'key', 'name'])

/** A thing that a column may refer to: the name of its entity, its table and key column. */
export interface Referable {
  readonly entity: string
  readonly table: string
  readonly column: CatalogColumn
}

/** The entity that a column's name speaks of, if its type can hold such a key; null when nothing or more than one fits. */
export function guessReference(column: CatalogColumn, things: readonly Referable[]): string | null {
  const name = column.name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase()
  const fitting = things.filter((thing) => sameKind(column, thing.column))
  const byKey = fitting.filter(({ column: key }) => !GENERIC.has(key.name) &&
    (name === key.name || name.endsWith(`_${key.name}`) || name === `${key.name}s`))
  const stem = name.replace(/_(id|ids|uid|gid|guid|uuid|uuids|key)$/, '')
  const byTable = fitting.filter(({ table }) => stem === table || stem === singular(table) || stem.endsWith(`_${singular(table)}`))
  const byUser = name.endsWith('_by') ? fitting.filter(({ table }) => /^(users?|accounts?)$/.test(table)) : []
  const found = [byKey, byTable, byUser].find((list) => list.length > 0) ?? []
  return found.length === 1 ? found[0].entity : null
}

function kindOf(type: string): string {
  const element = type.replace(/\[\]$/, '')
  return /^(smallint|integer|bigint)$/.test(element) ? 'integer' : element === 'uuid' ? 'uuid' : /^(text|character)/.test(element)
    ? 'text' : element
}

function sameKind(column: CatalogColumn, key: CatalogColumn): boolean {
  return kindOf(column.type) === kindOf(key.type)
}

const NAMES = /(^|_)(e?mail|login|user_?name|nick|handle|slug|code|key|name|title|label|sku|iso)(_|$)/i

/** True for columns by which people tell things apart. */
export function isNameLike(column: string): boolean {
  return NAMES.test(column) && !/token|secret|hash|api_?key/i.test(column)
}

/**
 * The unique key of the destination by which a row of the source can be found there, as the mapping writes it; null when there is none.
 * `ids` are columns that hold made ids: a key of nothing else tells nothing. With a `fresh` one, whose ids only the source has, none matches.
 */
export function naturalKey(
  from: CatalogTable, to: CatalogTable, { ids, fresh }: { readonly ids: ReadonlySet<string>; readonly fresh: ReadonlySet<string> },
): string[] | null {
  const candidates = to.uniques.filter((u) => !/ WHERE /i.test(u.definition)).flatMap((u) => {
    const parts = u.columns.map(keyPart)
    const known = parts.every((part) => part !== null && from.columns.some((c) => c.name === part.column))
    return known ? [parts as { column: string; text: string }[]] : []
  }).filter((parts) => !parts.every(({ column }) => ids.has(column)) && !parts.some(({ column }) => fresh.has(column)))
  const score = (parts: readonly { column: string }[]): number =>
    parts.length === 1 ? (/mail/i.test(parts[0].column) ? 0 : isNameLike(parts[0].column) ? 1 : 9) : 2
  const best = candidates.map((parts) => ({ parts, score: score(parts) })).filter((c) => c.score < 9).sort((a, b) => a.score - b.score)[0]
  return best ? best.parts.map((p) => p.text) : null
}

/** `email` or `lower((email)::text)`; other expressions are not part of the language. */
function keyPart(text: string): { column: string; text: string } | null {
  if (/^\w+$/.test(text)) return { column: text, text }
  const lower = /^lower\(\(?"?(\w+)"?\)?(::text|::character varying)?\)$/.exec(text)
  return lower ? { column: lower[1], text: `lower(${lower[1]})` } : null
}
