import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import { RekeyError } from '../core/errors.ts'
import type { MappingSource } from '../core/compile/mapping-source.ts'
import { mappingPartSchema, mappingSchema } from './mapping-schema.ts'
import { describeIssues, parseYaml, placeOf, type YamlFile } from './problems.ts'

export interface MappingFiles {
  readonly source: MappingSource
  /** `file:line` of a problem's `where`, or the folder when it names no key. */
  place(where: string): string
  /** Comments that begin with `todo:`, as `rekey init` writes them where a person must decide. */
  readonly todos: readonly { readonly place: string; readonly text: string }[]
}

/**
 * Reads `mapping.yaml` and every other *.yaml of a folder as one mapping. Throws RekeyError MAPPING that lists every fault of every
 * file, with line and key.
 */
export async function readMapping(folder: string): Promise<MappingFiles> {
  const names = (await readdir(folder).catch(() => [])).filter((n) => /\.ya?ml$/.test(n)).sort()
  if (!names.includes('mapping.yaml')) throw new RekeyError('MAPPING', `${folder} has no mapping.yaml`)
  const texts = await Promise.all(names.map((n) => readFile(join(folder, n), 'utf8')))
  return parseMapping(folder, new Map(names.map((n, i) => [n, texts[i]])))
}

/** The same from texts, by file name. */
export function parseMapping(folder: string, texts: ReadonlyMap<string, string>): MappingFiles {
  const faults: string[] = []
  const files = new Map([...texts].map(([n, text]) => [n, parseYaml(join(folder, n), text, 'MAPPING')]))
  const main = checked(files.get('mapping.yaml')!, mappingSchema, faults)
  const parts: [YamlFile, Part | undefined][] = [...files].map(([n, yaml]) =>
    [yaml, n === 'mapping.yaml' ? main : checked(yaml, mappingPartSchema, faults)])
  const tables = joined(parts, 'tables', faults)
  const entities = joined(parts, 'entities', faults)
  if (main === undefined || faults.length > 0) throw new RekeyError('MAPPING', faults.join('\n'))
  const { application, schemas, contexts, defaults, objects } = main
  return {
    source: { application, schemas, contexts, defaults, objects, entities, tables, digest: digestOf(texts) },
    place: (where) => placeIn([...files.values()], where) ?? folder,
    todos: [...texts].flatMap(([n, text]) => todosIn(join(folder, n), text)),
  }
}

function todosIn(file: string, text: string): { place: string; text: string }[] {
  return text.split('\n').flatMap((line, i) => {
    const found = /^\s*#\s*(todo:.*)/i.exec(line)
    return found ? [{ place: `${file}:${i + 1}`, text: found[1].trim() }] : []
  })
}

type Part = { readonly [K in 'tables' | 'entities']?: MappingSource[K] | undefined }

function checked<S extends z.ZodType>(yaml: YamlFile, schema: S, faults: string[]): z.infer<S> | undefined {
  const answer = schema.safeParse(yaml.value ?? {})
  if (answer.success) return answer.data
  faults.push(...describeIssues(yaml, answer.error.issues))
  return undefined
}

function joined<K extends 'tables' | 'entities'>(
  parts: readonly [YamlFile, Part | undefined][], key: K, faults: string[],
): NonNullable<MappingSource[K]> {
  const all: Record<string, any> = {}
  for (const [yaml, part] of parts) {
    for (const [name, value] of Object.entries(part?.[key] ?? {})) {
      if (Object.hasOwn(all, name)) faults.push(`${placeOf(yaml, [key, name])} ${key}.${name}: is also in another file`)
      all[name] = value
    }
  }
  return all
}

/** Of names and contents, so that an edit, a rename and a new file are all noticed. */
function digestOf(texts: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256')
  for (const [name, text] of [...texts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}\0${Buffer.byteLength(text)}\0`).update(text)
  }
  return hash.digest('hex')
}

/** A `where` is keys joined by dots; a key may hold dots itself, so the longest that fits is taken at each step. */
function placeIn(files: readonly YamlFile[], where: string): string | null {
  for (const yaml of files) {
    const path = pathIn(yaml.value, where.split('.'))
    if (path !== null) return placeOf(yaml, path)
  }
  return where.includes('.') ? placeIn(files, where.slice(0, where.lastIndexOf('.'))) : null
}

function pathIn(value: unknown, words: readonly string[]): string[] | null {
  if (words.length === 0) return []
  if (typeof value !== 'object' || value === null) return null
  for (let n = words.length; n > 0; n--) {
    const key = words.slice(0, n).join('.')
    if (!Object.hasOwn(value, key)) continue
    const rest = pathIn((value as Record<string, unknown>)[key], words.slice(n))
    if (rest !== null) return [key, ...rest]
  }
  return null
}
