import type { Change, Op } from '../../src/core/change.ts'
import { nameOf, type Column, type Relation, type TableName } from '../../src/core/relation.ts'
import { BACKSLASH, type Row, TAB } from '../../src/core/row.ts'
import { type Header, parseAbsent } from './header.ts'
import { type Block, newBlock, readString, reserve, skipValue } from './json-in.ts'
import { Unreadable } from './record.ts'

export type Decoded =
  | { readonly kind: 'change'; readonly change: Change; readonly bytes: number; readonly commitMicros: number }
  /** `content` is empty where the transaction only moves the position. */
  | { readonly kind: 'message'; readonly content: string; readonly commitMicros: number }

/**
 * Reads a value that encode.ts wrote. Rows go from the record to COPY text by their bytes. A record whose columns are not those of
 * the table as it is known comes with a relation of its own, for which the mapping then has a verdict or none. Throws Unreadable.
 */
export type Decode = (value: Buffer, header: Header) => Decoded

const OPS: Readonly<Record<string, Op>> = { c: 'insert', u: 'update', d: 'delete', t: 'truncate' }
const BEFORE = Buffer.from('{"before":')
const AFTER = Buffer.from(',"after":')
const SOURCE = Buffer.from(',"source":')
const MESSAGE_SOURCE = Buffer.from('{"source":')
const OP = Buffer.from(',"transaction":null,"op":"')
const MESSAGE_OP = Buffer.from(',"op":"m"')
const NULL = Buffer.from('null')
const MESSAGE = /,"message":\{"prefix":"rekey","content":"([A-Za-z0-9+/=]*)"\}\}$/
const QUOTE = 34, COMMA = 44, OPEN = 123, CLOSE = 125, N = 78, U = 85
/** What a change costs in memory beside its row's bytes. */
const CHANGE_BYTES = 128
const RECENT = 8

interface Source {
  readonly bytes: Buffer
  readonly table: TableName
  readonly commitMicros: number
}

/** A table's columns as a record names them. */
interface Layout {
  readonly relation: Relation
  readonly names: readonly Buffer[]
}

export function decoder(relations: ReadonlyMap<string, Relation>): Decode {
  const block = newBlock()
  let recent: Source[] = []
  const layouts = new Map<string, Layout>()

  const sourceAt = (value: Buffer, at: number): Source => {
    for (const source of recent) if (isAt(value, at, source.bytes)) return source
    const source = parseSource(value, at)
    recent = [source, ...recent.slice(0, RECENT - 1)]
    return source
  }
  const layoutOf = (table: TableName): Layout => {
    const name = nameOf(table)
    let layout = layouts.get(name)
    if (!layout) layouts.set(name, (layout = layOut(relations.get(name) ?? relationOf(table, [], undefined))))
    return layout
  }
  /** The row at `p`, and where it ends. When it has other columns than the table had so far, the table is now as the row says. */
  const rowAt = (value: Buffer, p: number, at: { table: TableName; missing: Missing }): { row: Row; end: number } => {
    const layout = layoutOf(at.table)
    const read = readRow(value, p, { layout, block, missing: at.missing })
    if (read) return read
    const absent = at.missing instanceof Set ? [...at.missing] : []
    const relation = relationOf(at.table, [...namesAt(value, p), ...absent], layout.relation)
    layouts.set(nameOf(at.table), layOut(relation))
    const again = readRow(value, p, { layout: layoutOf(at.table), block, missing: at.missing })
    if (!again) throw new Unreadable('its row is not one')
    return again
  }
  const changeOf = (value: Buffer, header: Header): Decoded => {
    expectAt(value, header.source - SOURCE.length, SOURCE)
    const source = sourceAt(value, header.source)
    const letter = header.source + source.bytes.length + OP.length
    expectAt(value, letter - OP.length, OP)
    const op = OPS[String.fromCharCode(value[letter])]
    if (!op || value[letter + 1] !== QUOTE || value[value.length - 1] !== CLOSE) throw new Unreadable('it says an unknown operation')
    const { table, commitMicros } = source
    let p = BEFORE.length
    let old: Row | null = null
    let row: Row | null = null
    const beforeAt = p
    p = isAt(value, p, NULL) ? p + 4 : skipValue(value, p)
    expectAt(value, p, AFTER)
    p += AFTER.length
    // The new row first: it tells the columns that the table has by now.
    if (!isAt(value, p, NULL)) ({ row, end: p } = rowAt(value, p, { table, missing: new Set(parseAbsent(header.absent)) }))
    else p += 4
    if (p !== header.source - SOURCE.length) throw new Unreadable('its row is followed by something else')
    const missing = header.before === 'f' ? 'unchanged' : 'null'
    if (!isAt(value, beforeAt, NULL)) ({ row: old } = rowAt(value, beforeAt, { table, missing }))
    const fits = (op === 'insert' || op === 'update') === (row !== null) && (op !== 'delete' || old !== null)
    if (!fits) throw new Unreadable('its rows do not fit its operation')
    const { relation } = layoutOf(table)
    for (const one of [row, old]) if (one && one.width !== relation.columns.length) throw new Unreadable('its rows have different columns')
    return { kind: 'change', change: { op, relation, row, old, oldIsFull: header.before === 'f' }, bytes: CHANGE_BYTES + value.length, commitMicros }
  }
  const messageOf = (value: Buffer, header: Header): Decoded => {
    if (header.source !== MESSAGE_SOURCE.length) throw new Unreadable('it is no message')
    const source = sourceAt(value, header.source)
    const p = header.source + source.bytes.length
    expectAt(value, p, MESSAGE_OP)
    const [, content] = MESSAGE.exec(value.toString('latin1', p)) ?? []
    if (content === undefined) throw new Unreadable('it is no message')
    return { kind: 'message', content: Buffer.from(content, 'base64').toString('utf8'), commitMicros: source.commitMicros }
  }
  return (value, header) => (isAt(value, 0, BEFORE) ? changeOf(value, header) : messageOf(value, header))
}

function layOut(relation: Relation): Layout {
  return { relation, names: relation.columns.map((column) => Buffer.from(`${JSON.stringify(column.name)}:`)) }
}

function relationOf(table: TableName, names: readonly string[], known: Relation | undefined): Relation {
  const columns = names.map((name): Column => known?.columns.find((column) => column.name === name) ?? { name, typeOid: 0, key: false })
  return { schema: table.schema, table: table.table, oid: known?.oid ?? 0, identity: known?.identity ?? 'd', columns }
}

/** A column that the object does not name: one of these is unchanged and others are an error; or all are null; or all are unchanged. */
type Missing = ReadonlySet<string> | 'null' | 'unchanged'

interface Reading {
  readonly layout: Layout
  readonly block: Block
  readonly missing: Missing
}

/** Null when the object at `p` has other columns than the layout. Throws Unreadable. */
function readRow(value: Buffer, p: number, { layout, block, missing }: Reading): { row: Row; end: number } | null {
  const { names, relation } = layout
  if (value[p++] !== OPEN) throw new Unreadable('its row is not one')
  reserve(block, value.length - p + 3 * names.length, names.length)
  const { buf, ends, endsAt } = block
  const begun = block.at
  let e = endsAt
  ends[e++] = begun
  let empty = true
  for (let i = 0; i < names.length; i++) {
    if (i > 0) buf[block.at++] = TAB
    const name = names[i]
    const at = empty ? p : p + 1
    if ((empty || value[p] === COMMA) && isAt(value, at, name)) {
      empty = false
      p = at + name.length
      if (value[p] === QUOTE) p = readString(value, p + 1, block)
      else if (isAt(value, p, NULL)) {
        p += 4
        buf[block.at++] = BACKSLASH
        buf[block.at++] = N
      } else throw new Unreadable('a value of its row is no text')
    } else {
      if (missing instanceof Set && !missing.has(relation.columns[i].name)) {
        block.at = begun
        return null
      }
      buf[block.at++] = BACKSLASH
      buf[block.at++] = missing === 'null' ? N : U
    }
    ends[e++] = block.at
  }
  if (value[p] !== CLOSE) {
    block.at = begun
    return null
  }
  block.endsAt = e
  return { row: { buf, ends, at: endsAt, width: names.length }, end: p + 1 }
}

function namesAt(value: Buffer, p: number): string[] {
  const names: string[] = []
  if (value[p++] !== OPEN) throw new Unreadable('its row is not one')
  while (value[p] !== CLOSE) {
    if (names.length > 0 && value[p++] !== COMMA) throw new Unreadable('its row is not one')
    if (value[p] !== QUOTE) throw new Unreadable('its row is not one')
    const end = skipValue(value, p)
    names.push(textOf(value.toString('utf8', p, end)))
    if (value[end] !== 58) throw new Unreadable('its row is not one')
    p = skipValue(value, end + 1)
  }
  return names
}

function textOf(json: string): string {
  try {
    return JSON.parse(json) as string
  } catch {
    throw new Unreadable('its value is not JSON')
  }
}

function parseSource(value: Buffer, at: number): Source {
  if (value[at] !== OPEN) throw new Unreadable('it does not say where it comes from')
  const end = skipValue(value, at)
  try {
    const text = value.toString('utf8', at, end)
    const { schema, table, ts_us: commitMicros } = JSON.parse(text) as { schema: unknown; table: unknown; ts_us: unknown }
    if (typeof schema !== 'string' || typeof table !== 'string' || typeof commitMicros !== 'number') throw new TypeError()
    return { bytes: Buffer.from(value.subarray(at, end)), table: { schema, table }, commitMicros }
  } catch {
    throw new Unreadable('it does not say where it comes from')
  }
}

function isAt(value: Buffer, at: number, wanted: Buffer): boolean {
  const { length } = wanted
  if (at < 0 || at + length > value.length) return false
  if (length > 48) return value.compare(wanted, 0, length, at, at + length) === 0
  for (let i = 0; i < length; i++) if (value[at + i] !== wanted[i]) return false
  return true
}

function expectAt(value: Buffer, at: number, wanted: Buffer): void {
  if (!isAt(value, at, wanted)) throw new Unreadable('its value is not laid out as ours are')
}
