import type { Change, Transaction } from '../core/change.ts'
import { insertsOf, keyOf, type RelationNet } from '../core/coalesce.ts'
import { notCarried, type Since } from '../core/gather.ts'
import { ledgerName, type Program } from '../core/program.ts'
import { nameOf, type Relation } from '../core/relation.ts'
import { isNull, textField } from '../core/row.ts'
import type { Decisions } from './decisions.ts'
import { resolveNets, type ResolveDeps } from './resolve.ts'

/** Decides the source rows that triggers made for these new rows: those that they point at, and those that point at them. */
export async function resolveMade(makers: RelationNet, relationNamed: (table: string) => Relation, deps: ResolveDeps): Promise<void> {
  const by = nameOf(makers.relation)
  for (const { source, adopt, key } of deps.mapping.tables.values()) {
    if (adopt?.by !== by) continue
    const maker = deps.adoption!.programOf(makers.relation)
    const at = 'column' in adopt ? maker.position.get(adopt.from)! : maker.key[0]
    const values = makers.inserts.flatMap((row) => (isNull(row, at) ? [] : [textField(row, at)!]))
    if (values.length === 0) continue
    const { rows } = await deps.adoption!.read(nameOf(source), 'column' in adopt ? key[0] : adopt.from, values)
    const relation = relationNamed(nameOf(source))
    const program = deps.programOf(relation)
    const carried = rows.filter((row) => notCarried({ op: 'insert', relation, row, old: null, oldIsFull: false }, program) === null)
    // Conflicts are found again with the rows themselves.
    if (carried.length > 0) await resolveNets([insertsOf(relation, carried)], deps)
  }
}

interface Copied {
  readonly since: Since
  readonly programOf: (relation: Relation) => Program
  readonly decisions: Decisions
}

/**
 * A copy of a later moment does not say what became of rows that triggers made: their changes are followed all the same, by key. They are
 * set apart as changes that no copy has.
 */
export async function apartFromCopy(transactions: readonly Transaction[], { since, programOf, decisions }: Copied): Promise<readonly Transaction[]> {
  if (since.size === 0) return transactions
  const concerned = ({ relation, op }: Change): boolean => op !== 'truncate' && programOf(relation).rule.adopt !== null && since.has(nameOf(relation))
  const keyIn = (change: Change): string => keyOf((change.row ?? change.old)!, programOf(change.relation).key)
  const asked = transactions.flatMap(({ changes }) => changes.filter(concerned))
  if (asked.length === 0) return transactions
  for (const relation of new Set(asked.map((change) => change.relation))) {
    await decisions.load(ledgerName(programOf(relation)), asked.filter((change) => change.relation === relation).map(keyIn))
  }
  const adopted = new Set(asked.filter((change) => decisions.get(ledgerName(programOf(change.relation)), keyIn(change))?.kind === 'adopted'))
  return transactions.flatMap((transaction) => {
    const runs: Change[][] = []
    for (const change of transaction.changes) {
      if (runs.length > 0 && adopted.has(runs.at(-1)![0]) === adopted.has(change)) runs.at(-1)!.push(change)
      else runs.push([change])
    }
    return runs.length === 0 ? [transaction] : runs.map((changes) => (
      { ...transaction, changes, commitLsn: adopted.has(changes[0]) ? 0n : transaction.commitLsn }))
  })
}
