import type { Proposal } from '../propose/proposal.ts'

/** The proposal as the file mapping.yaml, notes as comments. Reading it back gives the same mapping. */
export function mappingText({ spec, notes }: Proposal): string {
  const { schemas } = spec
  const lines = [`application: ${scalar(spec.application)}`, '']
  if (schemas.source !== 'public' || schemas.destination !== 'public') {
    lines.push(`schemas: { source: ${scalar(schemas.source)}, destination: ${scalar(schemas.destination)} }`, '')
  }
  for (const text of notes.get('') ?? []) lines.push(`# ${text}`)
  lines.push('# todo: split into contexts (platform, users, …) if you want a gate after each; parents come first.', 'contexts:')
  for (const context of spec.contexts) {
    lines.push(`  - name: ${scalar(context.name)}`, '    tables:', ...context.tables.map((table) => `      - ${scalar(table)}`))
  }
  lines.push('', ...section('entities', spec.entities, notes), '', ...section('tables', spec.tables, notes))
  return `${lines.join('\n')}\n`
}

/** Lines of a text that a person must still decide about. */
export function todosOf(text: string): { line: number; text: string }[] {
  return text.split('\n').flatMap((line, i) => {
    const at = line.indexOf('todo:')
    return at < 0 ? [] : [{ line: i + 1, text: line.slice(at).replace(/["']?( \})?$/, '') }]
  })
}

type Notes = Proposal['notes']

function section(name: string, entries: Readonly<Record<string, object>>, notes: Notes): string[] {
  const names = Object.keys(entries)
  if (names.length === 0) return [`${name}: {}`]
  return [`${name}:`, ...names.flatMap((key) => entry(entries[key], { path: `${name}.${key}`, key, depth: 1, notes }))]
}

interface At {
  readonly path: string
  readonly key: string
  readonly depth: number
  readonly notes: Notes
}

/** One key: in one line unless it has notes inside or is a table with several keys. */
function entry(value: unknown, at: At): string[] {
  const { path, key, depth, notes } = at
  const pad = '  '.repeat(depth)
  const comments = (notes.get(path) ?? []).map((text) => `${pad}# ${text.replaceAll('\n', ' ')}`)
  const noted = [...notes.keys()].some((other) => other.startsWith(`${path}.`))
  const flat = `${pad}${scalar(key)}: ${flow(value)}`
  if (!isMap(value) || (!noted && flat.length <= 100 &&
    !Object.values(value).some((v) => isMap(v) && Object.keys(v).length > 0))) return [...comments, flat]
  const inner = Object.entries(value).filter(([, v]) => v !== undefined)
  return [...comments, `${pad}${scalar(key)}:`,
    ...inner.flatMap(([name, v]) => entry(v, { path: `${path}.${name}`, key: name, depth: depth + 1, notes }))]
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`
  if (!isMap(value)) return scalar(value)
  const parts = Object.entries(value).filter(([, v]) => v !== undefined).map(([key, v]) => `${scalar(key)}: ${flow(v)}`)
  return parts.length === 0 ? '{}' : `{ ${parts.join(', ')} }`
}

const RESERVED = /^(true|false|null|yes|no|on|off|y|n|~)$/i

/** Plain where YAML reads it back as the same text; else in double quotes, whose escapes are those of JSON. */
function scalar(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value)
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return /^[A-Za-z_][\w.()-]*( [\w.()-]+)*$/.test(text) && (!RESERVED.test(text) || text === 'on') ? text : JSON.stringify(text)
}
