import { createHmac } from 'node:crypto'
import type { Decision } from '../../src/core/plan.ts'

/** How the entries of one ledger are written and told from all others. */
export interface EntryCodec {
  /** Field and value of a decision: its key as the ledger has it, and JSON with `id`, `kind`, `rule`, `evidence`, `mac`. */
  field(key: string): string
  encode(decision: Decision): string
  /** Null when it is not what encode() made for this ledger, entity and key. */
  decode(entity: string, key: string, value: string): Decision | null
}

/**
 * `key` is that of one life of one ledger, so an entry of another pipeline, of a ledger that was removed, under another key, or of another
 * hand is told at once. An old entry of the same ledger is not: only the ledger can say so.
 */
export function entryCodec(key: Buffer): EntryCodec {
  const mac = (entity: string, old: string, { id, kind, rule, evidence }: Entry): string =>
    createHmac('sha256', key).update(JSON.stringify([entity, old, id, kind, rule, evidence])).digest('base64url').slice(0, 16)
  return {
    field: fromRaw,
    encode({ entity, key: raw, id, kind, rule, evidence }) {
      const entry = { id: fromRaw(id), kind, rule, evidence }
      return JSON.stringify({ ...entry, mac: mac(entity, fromRaw(raw), entry) })
    },
    decode(entity, raw, value) {
      const entry = parse(value)
      if (entry === null || entry.mac !== mac(entity, fromRaw(raw), entry)) return null
      const { id, kind, rule, evidence } = entry
      return { entity, key: raw, id: toRaw(id), kind: kind as Decision['kind'], rule, evidence }
    },
  }
}

interface Entry {
  readonly id: string
  readonly kind: string
  readonly rule: string
  readonly evidence: string
}

function parse(value: string): (Entry & { readonly mac: string }) | null {
  try {
    const entry = JSON.parse(value) as Record<string, unknown>
    const whole = ['id', 'kind', 'rule', 'evidence', 'mac'].every((name) => typeof entry[name] === 'string')
    return whole ? entry as unknown as Entry & { mac: string } : null
  } catch {
    return null
  }
}

/** Raw keys and ids are bytes held as latin1; Redis, like the ledger, has the text that those bytes are. */
function fromRaw(raw: string): string {
  return Buffer.from(raw, 'latin1').toString('utf8')
}

function toRaw(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
