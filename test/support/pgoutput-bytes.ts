/** Builders of pgoutput messages, as the manual describes them: the other side of the decoder. */
export type Value = string | null | undefined

const u8 = (n: number): Buffer => Buffer.from([n])
const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 255])
export function u32(n: number): Buffer {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(n)
  return b
}
export function u64(n: bigint): Buffer {
  const b = Buffer.alloc(8)
  b.writeBigInt64BE(n)
  return b
}
const text = (s: string): Buffer => Buffer.from(`${s}\0`)

export function tuple(values: readonly Value[]): Buffer {
  const parts = values.map((v) => {
    if (v === null) return Buffer.from('n')
    if (v === undefined) return Buffer.from('u')
    const bytes = Buffer.from(v)
    return Buffer.concat([Buffer.from('t'), u32(bytes.length), bytes])
  })
  return Buffer.concat([u16(values.length), ...parts])
}

export interface RelationShape {
  readonly oid: number
  readonly schema?: string
  readonly table?: string
  readonly identity?: string
  readonly columns: readonly (readonly [name: string, type: number, key: boolean])[]
}

export function relation(r: RelationShape): Buffer {
  const columns = r.columns.map(([name, type, key]) => Buffer.concat([u8(key ? 1 : 0), text(name), u32(type), u32(0xffffffff)]))
  return Buffer.concat([
    Buffer.from('R'), u32(r.oid), text(r.schema ?? 'public'), text(r.table ?? 't'), Buffer.from(r.identity ?? 'd'), u16(columns.length),
    ...columns,
  ])
}

export const begin = (lsn: bigint, micros: bigint,
  xid: number): Buffer => Buffer.concat([Buffer.from('B'), u64(lsn), u64(micros), u32(xid)])
export const commit = (lsn: bigint, end: bigint, micros = 0n): Buffer =>
  Buffer.concat([Buffer.from('C'), u8(0), u64(lsn), u64(end), u64(micros)])
export const insert = (oid: number,
  row: readonly Value[]): Buffer => Buffer.concat([Buffer.from('I'), u32(oid), Buffer.from('N'), tuple(row)])
export function update(oid: number, row: readonly Value[], old?: { readonly kind: 'K' | 'O'; readonly row: readonly Value[] }): Buffer {
  const before = old ? [Buffer.from(old.kind), tuple(old.row)] : []
  return Buffer.concat([Buffer.from('U'), u32(oid), ...before, Buffer.from('N'), tuple(row)])
}
export const remove = (oid: number, kind: 'K' | 'O', row: readonly Value[]): Buffer =>
  Buffer.concat([Buffer.from('D'), u32(oid), Buffer.from(kind), tuple(row)])
export const truncate = (oids: readonly number[]): Buffer => Buffer.concat([Buffer.from('T'), u32(oids.length), u8(0), ...oids.map(u32)])
export function message(lsn: bigint, content: string, options: { transactional?: boolean; prefix?: string } = {}): Buffer {
  const { transactional = false, prefix = 'rekey' } = options
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from('M'), u8(transactional ? 1 : 0), u64(lsn), text(prefix), u32(bytes.length), bytes])
}
