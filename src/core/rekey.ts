import { keyOf } from './coalesce.ts'
import { ID_LENGTH, mintOrdered } from './ids/ids.ts'
import type { Mapping } from './mapping.ts'
import { objectRefs } from './objects/named.ts'
import type { Lines } from './out.ts'
import type { Minters, Program, Step } from './program.ts'
import { BACKSLASH, escapeField, fieldEnd, fieldStart, isNull, isUnchanged, rawField, textField, unescapeField, type Row } from './row.ts'
import { rewriteValue } from './value.ts'

/** Answers for entities whose ids are decisions: raw key (COPY text) to raw id, or undefined when it is not known yet. */
export type Decided = (entity: string, key: string) => string | undefined

/** A reference met while rewriting whose id is a decision that is not known. */
export class Undecided extends Error {
  readonly entity: string
  readonly key: string

  constructor(entity: string, key: string) {
    super(`no decision for a key of ${entity}`)
    this.entity = entity
    this.key = key
  }
}

export interface Scope {
  readonly decided: Decided
  readonly minters: Minters
  readonly isDecided: (entity: string) => boolean
  /** The new text of a unique value that another row of the destination has: by the ledger's name, row key and value, all raw. */
  readonly renamed: (entity: string, key: string, value: string) => string | undefined
  readonly stores: Mapping['stores']
}

/** Writes a whole row as a line of the destination's columns. Every column must have been sent. */
export function writeWhole(program: Program, row: Row, out: Lines, scope: Scope): void {
  const { whole } = program
  for (let i = 0; i < whole.length; i++) {
    if (i > 0) out.tab()
    writeStep(program, whole[i], row, out, scope)
  }
  out.end()
}

/** Writes only these destination columns (indexes) of a row, without a line end; `lead` writes a tab first. */
export function writeColumns(program: Program, steps: readonly Step[], row: Row, out: Lines, scope: Scope): void {
  for (let i = 0; i < steps.length; i++) {
    if (i > 0) out.tab()
    writeStep(program, steps[i], row, out, scope)
  }
}

/** Indexes of the destination columns whose source value was sent. */
export function sentColumns(program: Program, row: Row): number[] {
  const sent: number[] = []
  program.columns.forEach((step, i) => {
    const known = step.from < 0 || !isUnchanged(row, step.from)
    if (known && (step.kind !== 'value' || step.needs.every((name) => !isUnchanged(row, program.position.get(name)!)))) sent.push(i)
  })
  return sent
}

function writeStep(program: Program, step: Step, row: Row, out: Lines, scope: Scope): void {
  if (step.kind === 'copy') return out.bytes(row.buf, fieldStart(row, step.from), fieldEnd(row, step.to))
  if (step.kind === 'value') return writeValue(program, step, row, out, scope)
  const start = fieldStart(row, step.from)
  const end = fieldEnd(row, step.from)
  if (row.buf[start] === BACKSLASH && isNull(row, step.from)) return out.null()
  if (step.kind === 'ordered') {
    const room = step.key.prefix.length + ID_LENGTH
    out.ensure(room)
    const at = mintOrdered(step.key, row.buf, start, end, out.buf, out.at)
    if (at < 0) return out.bytes(row.buf, start, end)
    out.at = at
    return
  }
  if (step.kind === 'decided') {
    const key = row.buf.toString('latin1', start, end)
    const id = scope.decided(step.entity, key)
    if (id === undefined) throw new Undecided(step.entity, key)
    return out.raw(id)
  }
  if (step.kind === 'renamed') {
    const value = rawField(row, step.from)
    return out.raw(scope.renamed(step.entity, keyOf(row, program.key), value) ?? value)
  }
  const id = step.minter.mint(textField(row, step.from)!)
  if (id === null) out.bytes(row.buf, start, end)
  else out.value(id)
}

/** An id inside a value: decided, computed, or null when the key is not one that the entity can have (it then stays as it is). */
function idInside(scope: Scope, entity: string, key: string): string | null {
  if (!scope.isDecided(entity)) return scope.minters.get(entity)!.mint(key)
  const raw = escapeField(Buffer.from(key, 'utf8')).toString('latin1')
  const id = scope.decided(entity, raw)
  if (id === undefined) throw new Undecided(entity, raw)
  return unescapeField(Buffer.from(id, 'latin1')).toString('utf8')
}

function writeValue(program: Program, step: Extract<Step, { kind: 'value' }>, row: Row, out: Lines, scope: Scope): void {
  const { map } = step
  const computed = map.kind === 'constant' || map.kind === 'expression'
  if (!computed && isNull(row, step.from)) return out.null()
  if (map.kind === 'constant') return out.value(map.value)
  const raw = step.from < 0 ? EMPTY : unescapeField(row.buf.subarray(fieldStart(row, step.from), fieldEnd(row, step.from)))
  out.value(rewriteValue(map, raw, {
    column: (name) => textField(row, program.position.get(name)!),
    idOf: (entity, key) => idInside(scope, entity, key),
  }))
}
const EMPTY = Buffer.alloc(0)

type Want = (entity: string, key: string) => void

/** Reports each (entity, raw key) of a decided entity that the row or its objects' keys refer to and that `scope.decided` does not know. */
export function collectUndecided(program: Program, row: Row, scope: Scope, want: Want): void {
  collectIn(program.columns, program, row, scope, want)
  if (program.rule.objects.length > 0) objectRefs(program, row, scope.stores, (entity, key) => wantInside(scope, entity, key, want))
}

/** The same of the destination key alone: of a row that goes no more is known. */
export function collectUndecidedKey(program: Program, row: Row, scope: Scope, want: Want): void {
  collectIn(program.targetKey, program, row, scope, want)
}

function collectIn(steps: readonly Step[], program: Program, row: Row, scope: Scope, want: Want): void {
  for (const step of steps) {
    if (step.from >= 0 && (step.kind === 'copy' || step.kind === 'renamed' || isNull(row, step.from)
      || isUnchanged(row, step.from))) continue
    if (step.kind === 'decided') {
      const key = rawField(row, step.from)
      if (scope.decided(step.entity, key) === undefined) want(step.entity, key)
    } else if (step.kind === 'value' && step.map.kind !== 'constant') {
      if (step.needs.some((name) => isUnchanged(row, program.position.get(name)!))) continue
      const raw = step.from < 0 ? EMPTY : unescapeField(row.buf.subarray(fieldStart(row, step.from), fieldEnd(row, step.from)))
      rewriteValue(step.map, raw, {
        column: (name) => textField(row, program.position.get(name)!),
        idOf: (entity, key) => {
          wantInside(scope, entity, key, want)
          return null
        },
      })
    }
  }
}

function wantInside(scope: Scope, entity: string, key: string, want: Want): void {
  if (!scope.isDecided(entity)) return
  const id = escapeField(Buffer.from(key, 'utf8')).toString('latin1')
  if (scope.decided(entity, id) === undefined) want(entity, id)
}
