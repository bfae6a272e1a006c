import { decisionsFromCsv, textOf } from '../core/conflicts-csv.ts'
import { RekeyError } from '../core/errors.ts'
import type { Mapping } from '../core/mapping.ts'
import type { Decision } from '../core/plan.ts'
import type { Minters } from '../core/program.ts'
import type { TextQuery } from './ddl-facts.ts'
import { parsePlan } from './dryrun.ts'

export interface DecidedFiles {
  /** Texts of plan.json and of the conflicts.csv that was written with it. */
  readonly plan: string
  readonly csv: string
  readonly mapping: Mapping
  readonly minters: Minters
}

/**
 * The decisions of both files, for the ledger. Throws CONFIG for files that were edited where they must not be, or that are of another
 * mapping, and UNDECIDED while a conflict has no action.
 */
export function readDecisions({ plan, csv, mapping, minters }: DecidedFiles): Decision[] {
  const { conflicts, mapping: digest } = parsePlan(plan)
  if (digest !== mapping.digest) throw new RekeyError('CONFIG', 'plan.json was made with another mapping: run `rekey plan` again')
  return decisionsFromCsv(csv, { conflicts, mapping, minters })
}

const STORE = `
  insert into rekey.id_map (pipeline, entity, old, new, kind, rule, evidence)
  select $1, d.entity, d.old, d.new, d.kind, d.rule, d.evidence
  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) d(entity, old, new, kind, rule, evidence)
  on conflict (pipeline, entity, old) do nothing`

const DIFFERENT = `
  select d.entity, d.old from unnest($2::text[], $3::text[], $4::text[], $5::text[]) d(entity, old, new, kind)
  join rekey.id_map m on m.pipeline = $1 and m.entity = d.entity and m.old = d.old
  where (m.new, m.kind) is distinct from (d.new, d.kind) order by 1, 2`

/**
 * Keeps decisions in the ledger, before a run; the same ones again change nothing. The schema rekey must be there. Throws CONFIG when the
 * ledger has decided one of the keys otherwise: what a run has acted on stays.
 */
export async function storeDecisions(query: TextQuery, pipeline: string, decisions: readonly Decision[]): Promise<void> {
  const of = (value: (d: Decision) => string): string[] => decisions.map(value)
  const own = [pipeline, of((d) => d.entity), of((d) => textOf(d.key)), of((d) => textOf(d.id)), of((d) => d.kind)]
  const refuse = async (): Promise<void> => refuseDifferent(await query(DIFFERENT, own))
  await refuse()
  await query(STORE, [...own, of((d) => d.rule), of((d) => d.evidence)])
  // Another process may have decided in between.
  await refuse()
}

function refuseDifferent(different: readonly (readonly (string | null)[])[]): void {
  if (different.length === 0) return
  const shown = different.slice(0, 10).map(([entity, key]) => `${entity} ${key}`).join(', ')
  throw new RekeyError('CONFIG', `the ledger has decided ${different.length} of these keys otherwise: ${shown}`)
}
