import { ledgerChanges } from '../../src/core/ledger.ts'
import { Lines } from '../../src/core/out.ts'
import type { Decision } from '../../src/core/plan.ts'
import { quoteLiteral } from '../../src/core/quote.ts'
import { arrayText } from './lookup.ts'
import type { Message } from './stage.ts'

/** The decisions of a plan as statements. An entry is written once; only a dangling or a gone one gives way to another. */
export function ledgerMessage(decisions: readonly Decision[], pipeline: string, { sql, copies }: Message): void {
  const { truncated, added, replaced, gone } = ledgerChanges(decisions)
  const end = (entity: string): string =>
    `update rekey.id_map set kind = 'gone' where pipeline = ${quoteLiteral(pipeline)} and entity = ${quoteLiteral(entity)} and kind in ('inserted', 'adopted')`
  for (const entity of truncated) sql.push(end(entity))
  for (const [entity, keys] of gone) sql.push(`${end(entity)} and old = any (${quoteLiteral(arrayText(keys.map(fromRaw)))}::text[] collate "C")`)
  if (added.length > 0) {
    const lines = new Lines(added.length * 96)
    for (const d of added) lines.line([pipeline, d.entity, fromRaw(d.key), fromRaw(d.id), d.kind, d.rule, d.evidence])
    sql.push('copy rekey.id_map (pipeline, entity, old, new, kind, rule, evidence) from stdin')
    copies.push([lines.view()])
  }
  if (replaced.length > 0) sql.push(replace(replaced, pipeline))
}

/** Fails with RK004 unless the ledger has each of these entries: the same id, of the same kind. Before anything that the plan itself decides. */
export function reliedSql(relied: readonly Decision[], pipeline: string): string {
  const column = (of: (d: Decision) => string): string => `${quoteLiteral(arrayText(relied.map(of)))}::text[]`
  const rows = [column((d) => d.entity), column((d) => fromRaw(d.key)), column((d) => fromRaw(d.id)), column((d) => d.kind)].join(', ')
  return `select rekey.expect(${relied.length}, count(*), 'rekey.id_map', 'RK004') from unnest(${rows}) v (entity, old, new, kind)
 join rekey.id_map m on m.pipeline = ${quoteLiteral(pipeline)} and m.entity = v.entity collate "C" and m.old = v.old collate "C" and m.new = v.new collate "C" and m.kind = v.kind`
}

function replace(decisions: readonly Decision[], pipeline: string): string {
  const rows = decisions.map(({ entity, key, id, kind, rule, evidence }) =>
    `(${[entity, fromRaw(key), fromRaw(id), kind, rule, evidence].map(quoteLiteral).join(', ')})`)
  return `update rekey.id_map m set new = v.new, kind = v.kind, rule = v.rule, evidence = v.evidence
 from (values ${rows.join(', ')}) v (entity, old, new, kind, rule, evidence)
 where m.pipeline = ${quoteLiteral(pipeline)} and m.entity = v.entity and m.old = v.old and m.kind in ('dangling', 'gone')`
}

/** Raw keys are bytes held as latin1; the ledger stores the text that those bytes are. */
export function fromRaw(raw: Decision['key']): string {
  return Buffer.from(raw, 'latin1').toString('utf8')
}
