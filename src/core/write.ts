import type { CatalogTable, ForeignKey } from './catalog.ts'
import { isWhole, keyOf, type Net, type RelationNet } from './coalesce.ts'
import { IntegerSet } from './ids/integer-set.ts'
import { Lines } from './out.ts'
import type { TableWrite } from './plan.ts'
import type { Program, Step } from './program.ts'
import { sentColumns, writeColumns, writeWhole, type Scope } from './rekey.ts'
import { fieldEnd, fieldStart, isNull, type Row } from './row.ts'

/**
 * What is done with the row of one source key: it is ours, it is ours and a trigger made it there, it became a row of the destination, or
 * it is not carried.
 */
export type Standing = 'owned' | 'adopted' | 'merged' | 'skip'

export function isOurs(standing: Standing): boolean {
  return standing === 'owned' || standing === 'adopted'
}

export interface WriteOptions {
  readonly scope: Scope
  readonly target: CatalogTable
  /** By raw source key; only asked for tables with a ledger or with rows that may be skipped. */
  readonly standing: ((key: string, row: Row) => Standing) | null
  /** While the stream passes over what the initial copy may have seen, a new row may be there already. */
  readonly converging: boolean
  /** Collect parent keys, to prove foreign keys set by set. */
  readonly prove: boolean
  /** Where the parents are collected instead of with these writes. */
  readonly book: ProofBook | null
}

/** Parents met over several sets of rows, to be proven together at their end: of many rows few parents are distinct. By shape of table. */
export type ProofBook = Map<Program, { readonly target: CatalogTable; readonly proofs: readonly Proof[] }>

/** What the book holds, as writes of nothing but proofs. */
export function proofWrites(book: ProofBook): TableWrite[] {
  return [...book].map(([program, { target, proofs }]) => {
    const write = emptyWrite(program, target, 64)
    attach(write, proofs)
    return write
  })
}

export interface Proof {
  readonly fk: ForeignKey
  readonly steps: readonly Step[]
  readonly at: readonly number[]
  /** Positions in the source row of what decides the parent; of those, the columns that point at it themselves. */
  readonly from: readonly number[]
  readonly nulls: readonly number[]
  /** Keys that were met: short integers as numbers, which costs less than making their texts. */
  readonly seen: { readonly numbers: IntegerSet; readonly texts: Set<string> }
  readonly lines: Lines
}

/** The writes that bring the net changes of one table to the destination. Throws Undecided when a reference has no decision. */
export function writeNet(program: Program, net: RelationNet, options: WriteOptions): TableWrite {
  const { scope, standing, converging } = options
  const size = 1024 + Math.ceil(bytesOf(net.inserts) * 1.25) + net.inserts.length * 64
  const write = emptyWrite(program, options.target, size)
  const proofs = options.prove ? proofsFor(program, options) : []
  const fresh = converging ? write.upserts : write.inserts
  let merges: Lines | null = null
  const merged = (): Lines => (merges ??= linesFor(write.merges, program.columns.map((_, i) => i)))
  const whole = (row: Row, key: string | null, out: Lines): void => {
    const stand = standing === null ? 'owned' : standing(key ?? keyOf(row, program.key), row)
    if (stand === 'skip') return
    if (stand === 'adopted' && !program.rule.keyed) writeKey(program, row, write.deletes, scope)
    writeWhole(program, row, stand === 'merged' ? merged() : stand === 'adopted' && program.rule.keyed ? write.upserts : out, scope)
    if (isOurs(stand)) for (const proof of proofs) prove(program, proof, row, scope)
  }
  for (const row of net.inserts) whole(row, null, fresh)
  if (net.keyed) {
    for (const [key, entry] of net.keyed) {
      if (entry.kind === 'insert') whole(entry.row, key, fresh)
      else if (entry.kind === 'delete') writeDelete(program, entry, { key, write, scope, standing })
      else if (isWhole(entry.row)) whole(entry.row, key, write.upserts)
      else writePartial(program, entry.row, { key, write, scope, standing, proofs })
    }
  }
  if (net.counted) {
    for (const { row, count } of net.counted.values()) {
      for (let n = count; n > 0; n--) whole(row, null, write.inserts)
      if (count >= 0) continue
      const stand = standing === null ? 'owned' : standing(keyOf(row, program.key), row)
      // Its other columns may still be as the trigger made them.
      if (stand === 'adopted') writeKey(program, row, write.deletes, scope)
      else for (let n = count; n < 0 && isOurs(stand); n++) writeWhole(program, row, write.removals, scope)
    }
  }
  if (!options.book) attach(write, proofs)
  return write
}

function attach(write: TableWrite, proofs: readonly Proof[]): void {
  for (const proof of proofs) if (proof.lines.rows > 0) (write.parents as Map<string, Lines>).set(proof.fk.name, proof.lines)
}

function proofsFor(program: Program, { book, target }: WriteOptions): readonly Proof[] {
  if (!book) return proofsOf(program, target)
  let entry = book.get(program)
  if (!entry) book.set(program, (entry = { target, proofs: proofsOf(program, target) }))
  return entry.proofs
}

/** About as many bytes as the rows have, from a few of them. */
function bytesOf(rows: readonly Row[]): number {
  let sum = 0
  const step = Math.max(1, rows.length >> 4)
  let seen = 0
  for (let i = 0; i < rows.length; i += step, seen++) sum += rows[i].ends[rows[i].at + rows[i].width] - rows[i].ends[rows[i].at]
  return seen === 0 ? 0 : (sum / seen) * rows.length
}

/** Gives back the buffers of writes that have been applied. */
export function releaseWrites(writes: readonly TableWrite[]): void {
  for (const write of writes) {
    for (const lines of [write.inserts, write.upserts, write.deletes, write.removals]) lines.release()
    for (const sets of [write.updates, write.merges, write.moves]) for (const { lines } of sets.values()) lines.release()
    for (const lines of write.parents.values()) lines.release()
  }
}

export function emptyWrite(program: Program, target: CatalogTable, size: number): TableWrite {
  return {
    rule: program.rule, target,
    columns: program.rule.columns.map((column) => column.target),
    inserts: new Lines(size), upserts: new Lines(), deletes: new Lines(), removals: new Lines(),
    updates: new Map(), merges: new Map(), moves: new Map(), parents: new Map(),
  }
}

interface One {
  readonly key: string
  readonly write: TableWrite
  readonly scope: Scope
  readonly standing: WriteOptions['standing']
}

function writeDelete(program: Program, entry: Net, { key, write, scope, standing }: One): void {
  if (standing !== null && !isOurs(standing(key, entry.row))) return
  writeKey(program, entry.row, write.deletes, scope)
}

function writeKey(program: Program, row: Row, out: Lines, scope: Scope): void {
  writeColumns(program, program.targetKey, row, out, scope)
  out.end()
}

function writePartial(program: Program, row: Row, { key, write, scope, standing, proofs }: One & { proofs: readonly Proof[] }): void {
  const stand = standing === null ? 'owned' : standing(key, row)
  if (stand === 'skip') return
  const sent = sentColumns(program, row)
  const lines = linesFor(stand === 'merged' ? write.merges : write.updates, sent)
  writeColumns(program, sent.map((i) => program.columns[i]), row, lines, scope)
  lines.end()
  if (isOurs(stand)) for (const proof of proofs) if (proof.at.every((i) => sent.includes(i))) prove(program, proof, row, scope)
}

function linesFor(sets: TableWrite['updates'], columns: readonly number[]): Lines {
  const name = columns.join(',')
  const found = sets.get(name)
  if (found) return found.lines
  const lines = new Lines()
  ;(sets as Map<string, { columns: readonly number[]; lines: Lines }>).set(name, { columns, lines })
  return lines
}

/** A key change: the old destination key, then the columns that were sent. */
export function writeMove(program: Program, old: Row, row: Row, write: TableWrite, scope: Scope): void {
  const sent = sentColumns(program, row)
  const lines = linesFor(write.moves, sent)
  writeColumns(program, program.targetKey, old, lines, scope)
  lines.tab()
  writeColumns(program, sent.map((i) => program.columns[i]), row, lines, scope)
  lines.end()
}

function proofsOf(program: Program, target: CatalogTable): Proof[] {
  const names = program.rule.columns.map((column) => column.target)
  return target.foreignKeys
    .map((fk) => ({ fk, at: fk.columns.map((column) => names.indexOf(column)) }))
    .filter(({ at }) => at.every((i) => i >= 0 && !isNullAlways(program.columns[i])))
    .map(({ fk, at }) => {
      const steps = at.map((i) => program.columns[i])
      const nulls = steps.map((step) => step.from).filter((i) => i >= 0)
      const needs = steps.flatMap((step) => (step.kind === 'value' ? step.needs.map((name) => program.position.get(name)!) : []))
      return { fk, at, steps, from: [...new Set([...nulls, ...needs])], nulls, seen: { numbers: new IntegerSet(), texts: new Set<string>() }, lines: new Lines() }
    })
}

function isNullAlways(step: Step): boolean {
  return step.kind === 'value' && step.map.kind === 'constant' && step.map.value === null
}

/** Adds the parent that a row points at, once. A null in any column means no reference (MATCH SIMPLE). */
function prove(program: Program, { from, nulls, seen, steps, lines }: Proof, row: Row, scope: Scope): void {
  for (const i of nulls) if (isNull(row, i)) return
  const number = from.length === 1 ? shortInteger(row, from[0]) : -1
  if (number >= 0) {
    if (!seen.numbers.add(number)) return
  } else {
    const key = from.length === 0 ? '' : keyOf(row, from)
    if (seen.texts.has(key)) return
    seen.texts.add(key)
  }
  writeColumns(program, steps, row, lines, scope)
  lines.end()
}

/** The number that a field of up to nine digits, the first not zero, stands for; -1 for any other field. */
function shortInteger(row: Row, i: number): number {
  const { buf } = row
  const start = fieldStart(row, i)
  const end = fieldEnd(row, i)
  if (end - start > 9 || buf[start] === 48) return -1
  let n = 0
  for (let p = start; p < end; p++) {
    const digit = buf[p] - 48
    if (digit < 0 || digit > 9) return -1
    n = n * 10 + digit
  }
  return end === start ? -1 : n
}
