import { createHmac } from 'node:crypto'
import { v5, v7 } from 'uuid'
import type { Catalog } from '../core/catalog.ts'
import { mintOrderedText, orderedKey, unmintOrdered, writeBase32 } from '../core/ids/ids.ts'
import type { Entity, Mapping } from '../core/mapping.ts'
import type { Minter, Minters } from '../core/program.ts'
import { nameOf } from '../core/relation.ts'

export interface DeploymentKey {
  /** Name of the source deployment: the same rows from another deployment get other ids. */
  readonly deployment: string
  /** Secret of at least 16 bytes; keep it: without it ids cannot be computed again (the ledger and the rows remain the record). */
  readonly secret: string
}

/**
 * One minter an entity. Keys that an entity cannot have (by the type of its key column at the source) are not minted: null.
 * The key of an entity is HMAC-SHA256(secret, "rekey/<use>\0<deployment>\0<entity>"), first 16 bytes.
 */
export function mintersFor(mapping: Mapping, key: DeploymentKey, source: Catalog): Minters {
  return new Map([...mapping.entities.values()].map((entity) => [entity.name, minterOf(entity, key, shapeOf(entity, source))]))
}

export function entityKey({ deployment, secret }: DeploymentKey, use: string, entity: string): Buffer {
  return createHmac('sha256', secret).update(`rekey/${use}\0${deployment}\0${entity}`).digest().subarray(0, 16)
}

type Shape = (key: string) => boolean

const INTEGER = /^(0|-?[1-9][0-9]{0,18})$/
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/

function shapeOf(entity: Entity, source: Catalog): Shape {
  const table = source.tables.find((t) => nameOf(t) === entity.table)
  const type = table?.columns.find((c) => c.name === entity.column)?.type ?? 'text'
  if (/^(smallint|integer|bigint)$/.test(type)) return (key) => INTEGER.test(key)
  if (type === 'uuid') return (key) => UUID.test(key)
  return (key) => key !== ''
}

function minterOf(entity: Entity, key: DeploymentKey, fits: Shape): Minter {
  const { strategy, name } = entity
  switch (strategy.kind) {
    case 'prefixed': {
      if (strategy.form === 'opaque') return opaque(strategy.prefix, entityKey(key, 'opaque', name), fits)
      const ordered = orderedKey(strategy.prefix, entityKey(key, 'ordered', name))
      return { ordered, mint: (text) => mintOrderedText(ordered, text), unmint: (id) => unmintOrdered(ordered, id) }
    }
    case 'random':
      return { ordered: null, mint: (text) => (fits(text) ? typeId(strategy.prefix, v7({}, Buffer.alloc(16))) : null), unmint: () => null }
    case 'literal': {
      const lead = `${strategy.prefix}_`
      return { ordered: null, mint: (text) => (fits(text) ? lead + text : null),
        unmint: (id) => (id.startsWith(lead) && fits(id.slice(lead.length)) ? id.slice(lead.length) : null) }
    }
    case 'offset':
      return { ordered: null, mint: (text) => shift(text, strategy.by), unmint: (id) => shift(id, -strategy.by) }
    case 'keep':
      return { ordered: null, mint: (text) => text, unmint: (id) => id }
  }
}

/** An id past the range of int8 is left to the destination to refuse: it says so with the row. */
function shift(text: string, by: bigint): string | null {
  return INTEGER.test(text) ? (BigInt(text) + by).toString() : null
}

function opaque(prefix: string, namespace: Buffer, fits: Shape): Minter {
  const space = Uint8Array.from(namespace)
  space[6] = (space[6] & 0x0f) | 0x80
  space[8] = (space[8] & 0x3f) | 0x80
  return { ordered: null, mint: (text) => (fits(text) ? typeId(prefix, v5(text, space, Buffer.alloc(16))) : null), unmint: () => null }
}

function typeId(prefix: string, uuid: Buffer): string {
  const out = Buffer.allocUnsafe(26)
  writeBase32(out, 0, uuid.readUInt32BE(0), uuid.readUInt32BE(4), uuid.readUInt32BE(8), uuid.readUInt32BE(12))
  return `${prefix}_${out.toString('latin1')}`
}
