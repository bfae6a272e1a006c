import type { CatalogTable } from '../../src/core/catalog.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { LeftBehind } from '../../src/core/left-behind.ts'
import type { TableWrite, WritePlan } from '../../src/core/plan.ts'
import { quoteIdent, quoteName } from '../../src/core/quote.ts'
import { nameOf } from '../../src/core/relation.ts'
import { escapeField } from '../../src/core/row.ts'
import { equalsOf } from './equal.ts'
import { stageOf } from './stage.ts'
import { children } from './statements.ts'
import type { Wire } from './wire.ts'

interface Ending {
  readonly gone: ReadonlyMap<string, TableWrite>
  readonly checks: WritePlan['checks']
  readonly tables: readonly CatalogTable[]
}

/**
 * Why the end of a transaction in fragments failed, while that is still open (savepoint rekey_end): the rows that it took away and that
 * others point at. Null when it was something else.
 */
export async function leftBehind(wire: Wire, error: unknown, { gone, checks, tables }: Ending): Promise<LeftBehind | null> {
  if (!(error instanceof RekeyError) || error.sqlstate !== '23503') return null
  const rows: LeftBehind['rows'][number][] = []
  try {
    await wire.send('rollback to rekey_end')
    for (const write of gone.values()) {
      for (const sql of questions(write, { gone, checks, tables })) {
        const found = await wire.send(sql)
        rows.push(...found.rows.map((key) => ({ table: write.rule.target, key: key.map((field) => rawOf(field!)).join('\t') })))
      }
    }
  } catch {
    // It had failed before its end came: what the caller has is all there is to say.
    return null
  }
  return rows.length > 0 ? new LeftBehind(error, rows) : null
}

function rawOf(text: string): string {
  return escapeField(Buffer.from(text, 'utf8')).toString('latin1')
}

/** One a foreign key: keys that are gone, are not there again, and that a row which does not go itself points at. */
function questions({ rule, target }: TableWrite, { gone, checks, tables }: Ending): string[] {
  const key = rule.targetKey
  const notIn = (stage: string, table: CatalogTable, columns: readonly string[], alias: string): string =>
    `not exists (select 1 from ${stage} g where ${columns.map((k) => `g.${quoteIdent(k)} ${equalsOf(table, k)} ${alias}.${quoteIdent(k)}`).join(' and ')})`
  return children(target, tables).flatMap(({ child, fk }) => {
    // With proofs the rows are gone, and only their keys are known; a foreign key to other columns is never proven so.
    const byKey = fk.targetColumns.every((column) => key.includes(column))
    if (!byKey && checks === 'set') return []
    const on = fk.columns.map((column, i) => `c.${quoteIdent(column)} ${equalsOf(child, column)} ${byKey ? 's' : 't'}.${quoteIdent(fk.targetColumns[i])}`)
    const rows = byKey ? '' : ` join ${quoteName(target)} t on ${key.map((k) => `t.${quoteIdent(k)} ${equalsOf(target, k)} s.${quoteIdent(k)}`).join(' and ')}`
    const going = gone.get(nameOf(child))
    // With Postgres's own triggers nothing is deleted yet; with proofs all of it is, and a key may have come again.
    const stays = checks === 'set' ? [notIn(quoteName(target), target, key, 's')]
      : going ? [notIn(stageOf(child, 'g'), child, going.rule.targetKey, 'c')] : []
    const columns = key.map((k) => `s.${quoteIdent(k)}::text`).join(', ')
    return [`select distinct ${columns} from ${stageOf(target, 'g')} s${rows} join ${quoteName(child)} c on ${on.join(' and ')}${stays.map((one) => ` where ${one}`).join('')}`]
  })
}
