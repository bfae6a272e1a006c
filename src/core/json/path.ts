import { decodeString, encodeString, scanJson } from './scan.ts'
import type { JsonStep } from '../mapping.ts'

const BARE = /[^.[\]*"'\s]+/y
const INDEX = /\[([0-9]{1,9})\]/y
const QUOTED = /\[("(?:[^"\\]|\\.)*")\]/y

/**
 * Reads a path: `$` is the value itself, then any of `.name`, `["any name"]` (a JSON string), `[0]`, `.*` (every member), `[*]` (every
 * item), and `..` (any depth, none included) before one of these: `..name`, `..*`, `..["a b"]`, `..[0]`, or at the end. A bare name has
 * no dot, bracket, star, quote or white space. Throws RangeError that says where the path cannot be read.
 */
export function parseJsonPath(text: string): JsonStep[] {
  if (text[0] !== '$') throw new RangeError('JSON path: it begins with $')
  const steps: JsonStep[] = []
  let at = 1
  while (at < text.length) {
    const deep = text.startsWith('..', at)
    if (deep) steps.push({ kind: 'deep' })
    if (deep) at += 2
    if (deep && at === text.length) break
    if (text[at] === '[') at = readBrackets(text, at, steps)
    else if (deep) at = readName(text, at, steps)
    else if (text[at] === '.') at = readName(text, at + 1, steps)
    else throw new RangeError(`JSON path: . or [ expected at ${at + 1}`)
  }
  return steps
}

function readName(text: string, at: number, steps: JsonStep[]): number {
  if (text[at] === '*') {
    steps.push({ kind: 'members' })
    return at + 1
  }
  const name = sticky(BARE, text, at)
  if (name === null) throw new RangeError(`JSON path: a name expected at ${at + 1}; write ["…"] for a name with other characters`)
  steps.push({ kind: 'member', name: name[0] })
  return at + name[0].length
}

function readBrackets(text: string, at: number, steps: JsonStep[]): number {
  if (text.startsWith('[*]', at)) {
    steps.push({ kind: 'items' })
    return at + 3
  }
  const index = sticky(INDEX, text, at)
  if (index !== null) {
    steps.push({ kind: 'index', index: Number(index[1]) })
    return at + index[0].length
  }
  const quoted = sticky(QUOTED, text, at)
  const name = quoted === null ? null : nameOf(quoted[1])
  if (quoted === null || name === null) throw new RangeError(`JSON path: [0], [*] or ["name"] expected at ${at + 1}`)
  steps.push({ kind: 'member', name })
  return at + quoted[0].length
}

function nameOf(token: string): string | null {
  const bytes = Buffer.from(token, 'utf8')
  try {
    scanJson(bytes, { open: () => {}, close: () => {}, key: () => {}, scalar: () => {} })
  } catch {
    return null
  }
  return decodeString(bytes, 0, bytes.length)
}

function sticky(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at
  return pattern.exec(text)
}

/** The path as parseJsonPath reads it. */
export function formatJsonPath(path: readonly JsonStep[]): string {
  let text = '$'
  path.forEach((step, i) => {
    const dot = path[i - 1]?.kind === 'deep' ? '' : '.'
    switch (step.kind) {
      case 'deep':
        text += '..'
        break
      case 'members':
        text += `${dot}*`
        break
      case 'items':
        text += '[*]'
        break
      case 'index':
        text += `[${step.index}]`
        break
      case 'member':
        text += isBare(step.name) ? `${dot}${step.name}` : `[${encodeString(step.name)}]`
    }
  })
  return text
}

function isBare(name: string): boolean {
  return sticky(BARE, name, 0)?.[0] === name
}
