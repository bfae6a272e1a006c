import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml'
import type { z } from 'zod'
import { RekeyError, type ErrorCode } from '../core/errors.ts'

/** A YAML file with what is needed to name the line of a key. */
export interface YamlFile {
  /** As it is shown to people. */
  readonly file: string
  readonly document: Document.Parsed
  readonly lines: LineCounter
  /** The plain value. Whole numbers beyond 2^53 are refused: they must stand in quotes. */
  readonly value: unknown
}

/** Parses YAML 1.2. Throws RekeyError naming file and line for text that is not YAML and for keys that occur twice. */
export function parseYaml(file: string, text: string, code: ErrorCode): YamlFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const faults = document.errors.map((e) => `${file}:${lines.linePos(e.pos[0]).line}: not valid YAML (${e.code})`)
  if (faults.length > 0) throw new RekeyError(code, faults.join('\n'))
  return { file, document, lines, value: document.toJS({ maxAliasCount: 100 }) }
}

/** `file:line` of the deepest key of the path that is in the file. */
export function placeOf(yaml: YamlFile, path: readonly PropertyKey[]): string {
  let node = yaml.document.contents as Node | null
  let offset: number | undefined
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      if (pair === undefined) break
      offset = (pair.key as Node).range?.[0]
      node = pair.value as Node | null
    } else if (isSeq(node)) {
      const item = node.items[Number(step)] as Node | undefined
      if (item === undefined) break
      offset = item.range?.[0]
      node = item
    } else break
  }
  return `${yaml.file}:${offset === undefined ? 1 : yaml.lines.linePos(offset).line}`
}

/** One line per fault: `mapping.yaml:12 tables.users.columns.email.keep: expected …`. Values are not shown. */
export function describeIssues(yaml: YamlFile, issues: readonly z.core.$ZodIssue[]): string[] {
  return issues.flatMap((issue) => flatten(issue, [])).map(({ path, message }) => {
    const key = path.map(String).join('.')
    return `${placeOf(yaml, path)} ${key === '' ? '' : `${key}: `}${message}`
  })
}

interface Fault {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

/** Codes that say: the text is of another kind altogether than this branch of a union. */
const OTHER_KIND = /^invalid_(type|value|union|format)$/

/** Unknown keys become one fault each, at the key; of a union, the branch that the text seems to mean. */
function flatten(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): Fault[] {
  const path = [...above, ...issue.path]
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown key' }))
  if (issue.code === 'invalid_key') return [{ path, message: 'not a usable name' }]
  if (issue.code === 'invalid_union') {
    const meant = issue.errors.find((branch) => !branch.some((i) => i.path.length === 0 && OTHER_KIND.test(i.code)))
    if (meant !== undefined) return meant.flatMap((inner) => flatten(inner as z.core.$ZodIssue, path))
  }
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined')) return [{ path, message: 'is needed' }]
  return [{ path, message: issue.message.replace(/^Invalid (input|option): /, '') }]
}
