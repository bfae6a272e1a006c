import { tableOf, type Catalog, type CatalogTable, type ForeignKey } from '../catalog.ts'
import { reportOf, type Finding, type Report } from './finding.ts'
import type { Mapping, TableRule } from '../mapping.ts'
import { copyDeadlocks } from '../passes.ts'
import { quoteIdent, quoteName } from '../quote.ts'
import { nameOf } from '../relation.ts'

/** Rows that point at each other in a circle: the copy writes one table before the other, so some column has to be null at first. */
export function judgeCycles(mapping: Mapping, destination: Catalog): Finding[] {
  const report = reportOf('schema')
  for (const cycle of copyDeadlocks(mapping, destination)) judgeCycle(cycle.map((name) => mapping.tables.get(name)!), destination, report)
  for (const rule of mapping.tables.values()) {
    const target = rule.verdict === 'move' || rule.verdict === 'merge' ? tableOf(destination, rule.target) : undefined
    if (target) judgeSelf(target, rule, report)
  }
  return report.findings
}

function judgeCycle(rules: readonly TableRule[], destination: Catalog, report: Report): void {
  const targets = rules.flatMap((rule) => tableOf(destination, rule.target) ?? [])
  const names = targets.map(nameOf)
  const inside = targets.flatMap((target) => target.foreignKeys
    .filter((fk) => names.includes(nameOf(fk.target)) && nameOf(fk.target) !== nameOf(target)).map((fk) => ({ target, fk })))
  const free = inside.find(({ target, fk }) => freeColumns(target, fk).length > 0)
  report.error({
    code: 'CYCLE', subject: names.join(', '),
    message: `each row needs one of the next table, and none of ${inside.flatMap(({ fk }) => fk.columns).join(', ')} may be null: ` +
      'the initial copy can write none of them first, and a deferrable constraint does not help, since each part is committed by itself',
    fix: free ? `${nullable(free.target, free.fk)} at the destination, until the copy is done.`
      : 'Drop one of these foreign keys at the destination until the copy is done.',
  })
}

function judgeSelf(target: CatalogTable, rule: TableRule, report: Report): void {
  const own = target.foreignKeys.filter((fk) => nameOf(fk.target) === nameOf(target) && !fk.deferrable)
  for (const fk of own.filter((one) => one.columns.every((c) => rule.targetKey.includes(c) || !isNullable(target, c)))) {
    report.warning({
      code: 'SELF_REFERENCE', subject: nameOf(target),
      message: `${fk.columns.join(', ')} may not be null: the copy may park rows that point at a row with a higher key`,
      fix: `alter table ${quoteName(target)} alter constraint ${quoteIdent(fk.name)} deferrable;`,
    })
  }
}

function freeColumns({ primaryKey }: CatalogTable, fk: ForeignKey): readonly string[] {
  return fk.columns.filter((column) => !primaryKey?.columns.includes(column))
}

function nullable(target: CatalogTable, fk: ForeignKey): string {
  const column = freeColumns(target, fk)[0]
  return `alter table ${quoteName(target)} alter column ${quoteIdent(column)} drop not null;`
}

function isNullable(target: CatalogTable, column: string): boolean {
  return target.columns.find((c) => c.name === column)?.nullable ?? false
}
