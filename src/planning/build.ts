import { keeps } from './choose-checks.ts'
import { keyOf, type RelationNet } from '../core/coalesce.ts'
import type { Group, Since } from '../core/gather.ts'
import { Lines } from '../core/out.ts'
import type { Part, TableWrite, TruncatedTable } from '../core/plan.ts'
import { ledgerName, type Program } from '../core/program.ts'
import { nameOf } from '../core/relation.ts'
import type { Row } from '../core/row.ts'
import { emptyWrite, isOurs, type ProofBook, type Standing, writeMove, writeNet } from '../core/write.ts'
import type { ResolveDeps } from './resolve.ts'

/** What is known when the writes of a plan are built: everything is decided. */
export interface Build extends ResolveDeps {
  readonly left: ReadonlySet<string>
  readonly converging: boolean
  readonly checks: 'engine' | 'set'
  readonly book: ProofBook | null
  readonly since: Since
}

/** What is done with a row: by the ledger, by what a person must decide first. */
export function standingOf(program: Program, key: string, build: Build): Standing {
  if (build.left.size > 0 && build.left.has(`${nameOf(program.rule.source)}\n${key}`)) return 'skip'
  if (!program.rule.ledger) return 'owned'
  const decision = build.decisions.get(ledgerName(program), key)
  if (decision?.kind === 'adopted') return 'adopted'
  if (!decision || decision.kind === 'inserted') return 'owned'
  return decision.kind === 'merged' && keeps(program) ? 'merged' : 'skip'
}

/**
 * A row that goes and that no decision knows, or one that went before, was not written by us: it came and went between two commits here.
 * Its key, where that is composed of other ids, may well be a row of the destination's own.
 */
function neverWritten(program: Program, net: RelationNet, key: string, build: Build): boolean {
  if (!program.rule.ledger || net.keyed?.get(key)?.kind !== 'delete') return false
  return (build.decisions.get(ledgerName(program), key)?.kind ?? 'gone') === 'gone'
}

/** What the ledger says of rows that a group deletes, or takes away from their keys, proves nothing from here on. */
export function forgetGone({ nets, moves, truncated }: Group, { decisions, programOf }: Build): void {
  for (const { relation, keyed } of nets.values()) {
    const program = programOf(relation)
    if (!program.rule.ledger) continue
    for (const [key, { kind }] of keyed ?? []) if (kind === 'delete') decisions.gone(ledgerName(program), key)
  }
  for (const { program, old } of moves) if (program.rule.ledger) decisions.gone(ledgerName(program), keyOf(old, program.key))
  for (const program of truncated) if (program.rule.ledger) decisions.truncated(ledgerName(program))
}

export function partOf(group: Group, build: Build): Part {
  const writes: { rank: number; write: TableWrite }[] = []
  for (const net of group.nets.values()) {
    const program = build.programOf(net.relation)
    const asked = program.rule.ledger || build.left.size > 0
    const write = writeNet(program, net, {
      scope: build.scope, target: build.targetOf(program), converging: build.converging, prove: build.checks === 'set', book: build.book,
      standing: asked ? (key: string, _row: Row) => (neverWritten(program, net, key, build) ? 'skip' : standingOf(program, key, build)) : null,
    })
    writes.push({ rank: build.rankOf(program), write })
  }
  if (group.moves.length > 0) {
    const { program } = group.moves[0]
    const write = emptyWrite(program, build.targetOf(program), 1024)
    for (const { old, row } of group.moves) {
      // It may refer to a row that is not decided, which is told by its new key.
      if (build.left.has(`${nameOf(program.rule.source)}\n${keyOf(row, program.key)}`)) continue
      if (isOurs(standingOf(program, keyOf(old, program.key), build))) writeMove(program, old, row, write, build.scope)
    }
    writes.push({ rank: 0, write })
  }
  writes.sort((a, b) => a.rank - b.rank)
  return {
    writes: writes.map(({ write }) => write), truncate: group.truncated.map((program) => truncatedTable(program, build)),
    ...(build.converging ? { guarded: true } : {}),
  }
}

function truncatedTable(program: Program, build: Build): TruncatedTable {
  const { rule } = program
  const strategy = rule.entity === null ? undefined : build.mapping.entities.get(rule.entity)?.strategy
  const prefix = !rule.ledger && strategy?.kind === 'prefixed' ? strategy.prefix : null
  const fresh = new Lines()
  for (const id of prefix === null ? build.decisions.pendingIds(ledgerName(program)) : []) {
    fresh.raw(id)
    fresh.end()
  }
  return { target: rule.target, targetKey: rule.targetKey, prefix, ledger: ledgerName(program), fresh }
}
