import { RekeyError } from '../core/errors.ts'
import { readableKey } from '../core/parking.ts'
import type { DestinationState, ParkedRow, ParkedState } from '../pipeline/operate.ts'
import { counted, formatCount, plain, renderTable } from './text.ts'

export interface ListOptions {
  readonly table?: string
  readonly all?: boolean
  readonly values?: boolean
  readonly limit: number
}

/** What `rekey parked list --json` prints. */
export interface ParkedList {
  /** How many there are; `rows` holds at most `--limit` of them, oldest first. */
  readonly total: number
  readonly rows: readonly ListedRow[]
}

/** `key` is readable; `change` (the stored row) is there only with --values. */
export type ListedRow = Omit<ParkedRow, 'change'> & { readonly change?: object }

const OPEN: readonly ParkedState[] = ['waiting', 'retry']
const ALL: readonly ParkedState[] = ['left', 'waiting', 'retry', 'waived', 'done']

export async function listParked(destination: DestinationState, options: ListOptions): Promise<ParkedList> {
  const { rows, total } = await destination.parked({
    states: options.all ? ALL : OPEN, table: options.table ?? null, values: options.values ?? false, limit: options.limit,
  })
  return {
    total,
    rows: rows.map(({ change, ...row }) => ({
      ...row,
      key: readableKey(Buffer.from(row.key, 'utf8').toString('latin1')),
      ...(change === null ? {} : { change: JSON.parse(change) as object }),
    })),
  }
}

export function renderParked({ total, rows }: ParkedList): string {
  if (total === 0) return 'No row is parked.\n'
  const titles = ['TABLE', 'KEY', 'CHANGE', 'STATE', 'SQLSTATE', 'SINCE', 'REASON'].map((title) => ({ title }))
  const why = (r: ListedRow): string => `${r.reason}${r.behind ? ' (waits behind another)' : ''}${r.note === null ? '' : `: ${r.note}`}`
  const cells = rows.map((r) => [r.id, r.table, r.key, r.op, r.state, r.sqlstate, r.parkedAt, why(r)])
  const [head, ...lines] = renderTable([{ title: 'ID', align: 'right' }, ...titles], cells)
  const body = lines.flatMap((line, i) => (rows[i].change === undefined ? [line] : [line, `    ${plain(JSON.stringify(rows[i].change))}`]))
  const rest = total > rows.length ? [`and ${formatCount(total - rows.length)} more: see --limit`] : []
  return `${[head, ...body, ...rest].join('\n')}\n`
}

/** What `rekey parked retry --json` and `waive --json` print. */
export interface Decided {
  readonly changed: readonly string[]
  /** Ids that were left as they are, and why. */
  readonly left: readonly { readonly id: string; readonly state: ParkedState | 'not there' }[]
}

/** The running bridge, or the next run, applies these rows again. A waived row may be taken back this way. */
export async function retryParked(
  destination: DestinationState, ids: readonly string[], options: { all?: boolean; table?: string },
): Promise<Decided> {
  if ((ids.length > 0) === (options.all ?? false)) throw new RekeyError('USAGE', 'name parked rows by id, or all with --all')
  if (options.all) {
    const changed = await destination.decide({ ids: null, table: options.table ?? null, from: ['waiting'], to: 'retry', note: null })
    return { changed, left: [] }
  }
  return decide(destination, ids, { from: ['waiting', 'waived'], to: 'retry', note: null })
}

/** These rows will not be carried: a decision by name that the cutover accepts. */
export function waiveParked(destination: DestinationState, ids: readonly string[], reason: string): Promise<Decided> {
  return decide(destination, ids, { from: ['waiting', 'retry'], to: 'waived', note: reason })
}

/** A row in `retry` may be under way in a bridge, which makes it `done` in the transaction that applies it: one of the two comes first. */
async function decide(
  destination: DestinationState, ids: readonly string[], how: { from: readonly ParkedState[]; to: 'retry' | 'waived'; note: string | null },
): Promise<Decided> {
  checkIds(ids)
  const changed = await destination.decide({ ids, table: null, ...how })
  const others = [...new Set(ids)].filter((id) => !changed.includes(id))
  const states = others.length > 0 ? await destination.parkedStates(others) : new Map<string, ParkedState>()
  return { changed, left: others.map((id) => ({ id, state: states.get(id) ?? 'not there' })) }
}

/** Row numbers as the destination counts them. Throws RekeyError USAGE. */
export function checkIds(ids: readonly string[]): void {
  const wrong = ids.filter((id) => !/^[1-9][0-9]{0,17}$/.test(id))
  if (wrong.length === 0) return
  throw new RekeyError('USAGE', `not the id of a parked row: ${wrong.join(', ')}`, { hint: '`rekey parked list` shows the ids.' })
}

export function renderDecided({ changed, left }: Decided, to: 'retry' | 'waived'): string {
  const done = to === 'retry' ? 'will be tried again by the running bridge, or by the next `rekey run`' : 'waived: not carried'
  const which = changed.length > 0 && changed.length <= 20 ? ` (${changed.join(', ')})` : ''
  const lines = [`${counted(changed.length, 'row')} ${done}${which}.`]
  const why = (state: string): string => (state === 'not there' ? 'there is no such parked row' : `left as it is (${state})`)
  lines.push(...left.map(({ id, state }) => `${id}: ${why(state)}`))
  return `${lines.join('\n')}\n`
}
