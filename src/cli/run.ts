import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../config/config.ts'
import { closes } from '../core/totals.ts'
import { formatLsn } from '../core/lsn.ts'
import type { JobTotals } from '../core/objects/job.ts'
import type { Checkpoint } from '../core/plan.ts'
import { openLog } from '../log.ts'
import type { Role } from '../pipeline.ts'
import type { Note, Progress } from '../progress.ts'
import { failureJson, failureOf } from './failure.ts'
import { isWorthLogging, objectsText, progressFields, progressLines, progressText, totalOf, totalsText, type Logged } from './progress.ts'
import { totalsTable } from './render-status.ts'
import { openScreen } from './screen.ts'
import { secretsOf, type Session, type World } from './session.ts'
import type { ClosedTotals } from './status.ts'

export interface RunVerbOptions {
  readonly takeover?: boolean
  readonly role?: Role
  /** A file of decisions. */
  readonly conflicts?: string
}

/** The last thing that a run says: where it stopped and what became of the rows. */
export interface Summary {
  readonly pipeline: string
  readonly role: Role
  readonly phase: Checkpoint['phase']
  readonly epoch: number
  readonly commitLsn: string
  readonly endLsn: string
  readonly totals: ClosedTotals
  readonly tables: Readonly<Record<string, ClosedTotals>>
  /** As they were counted last; null without objects. */
  readonly objects: JobTotals | null
}

interface View {
  progress(progress: Progress): void
  note(note: Note): void
  summary(summary: Summary): void
  end(): void
}

/** The conflicts.csv that `rekey plan` wrote beside rekey.yaml: decisions are never left lying. */
function besideConfig(configFile: string): string | null {
  const file = join(dirname(configFile), 'conflicts.csv')
  return existsSync(file) && existsSync(join(dirname(configFile), 'plan.json')) ? file : null
}

/** One Ctrl-C may come twice: from the terminal, and from a program that started us and passes it on. */
const SAME_SIGNAL_MS = 300

/**
 * Runs the bridge until a signal. The first signal lets it finish what is under way, and the command ends with 0; the second ends the
 * process at once with 130: nothing is lost by that, the next run goes on at the checkpoint.
 */
export async function runVerb(session: Session, options: RunVerbOptions): Promise<number> {
  const { world } = session
  const config = await session.config()
  const view = viewOf(session, config)
  const stop = new AbortController()
  let first = 0
  const release = world.onSignal(() => {
    const now = performance.now()
    if (stop.signal.aborted) {
      if (now - first < SAME_SIGNAL_MS) return
      view.end()
      world.exit(130)
      return
    }
    view.note({ level: 'info', event: 'signal', text: 'stopping: finishing what is under way; another signal ends it at once' })
    first = now
    stop.abort()
  })
  try {
    let objects: JobTotals | null = null
    const progress = (p: Progress): void => {
      objects = p.objects
      view.progress(stop.signal.aborted ? { ...p, phase: 'draining' } : p)
    }
    const conflicts = options.conflicts ?? besideConfig(session.configFile)
    const { role = 'all' } = options
    const how = { takeover: options.takeover ?? false, role, ...(conflicts === null ? {} : { conflicts }) }
    const checkpoint = await world.run(config, how, { progress, note: view.note }, stop.signal)
    view.end()
    view.summary(summaryOf(config.pipeline, checkpoint, { role, objects }))
    return 0
  } catch (error) {
    view.end()
    if (session.json) world.stdout.write(`${JSON.stringify({ type: 'error', ...failureJson(failureOf(error, secretsOf(config))) })}\n`)
    throw error
  } finally {
    release()
  }
}

export function summaryOf(
  pipeline: string, { phase, epoch, commitLsn, endLsn, totals }: Checkpoint, { role, objects }: { role: Role; objects: JobTotals | null },
): Summary {
  return {
    pipeline, role, phase, epoch, commitLsn: formatLsn(commitLsn), endLsn: formatLsn(endLsn), totals: closed(totalOf(totals)),
    tables: Object.fromEntries(Object.entries(totals).map(([table, t]) => [table, closed(t)])), objects,
  }
}

function closed(t: Checkpoint['totals'][string]): ClosedTotals {
  return { ...t, closes: closes(t) }
}

export function renderSummary(summary: Summary): string {
  if (summary.role === 'capture') return `Stopped capturing, at ${summary.commitLsn}: everything before it is in the change log.\n`
  const when = summary.phase === 'stream' ? 'while streaming' : 'before the copy was complete'
  const lines = [`Stopped ${when}, at ${summary.commitLsn}: ${totalsText(summary.totals)}.`]
  if (Object.keys(summary.tables).length > 0) lines.push('', ...totalsTable(summary.tables, summary.totals))
  if (summary.objects) lines.push('', `${objectsText({ ...summary.objects, objectsPerSecond: 0, bytesPerSecond: 0, etaSeconds: null })}.`)
  lines.push('', 'The next `rekey run` goes on from here; until then the slot holds WAL back at the source.')
  return `${lines.join('\n')}\n`
}

function viewOf(session: Session, config: Config): View {
  const { world } = session
  if (session.json) return jsonView(world)
  return world.stderr.isTTY && world.env.TERM !== 'dumb' ? screenView(world) : logView(world, config)
}

/** One JSON object a line, told apart by `type`. */
function jsonView({ stdout }: World): View {
  const line = (type: string, members: object): void => void stdout.write(`${JSON.stringify({ type, ...members })}\n`)
  return { progress: (p) => line('progress', p), note: (n) => line('note', n), summary: (s) => line('summary', s), end: () => {} }
}

function screenView({ stdout, stderr }: World): View {
  const columns = (): number => stderr.columns ?? 80
  const screen = openScreen((text) => void stderr.write(text), columns)
  let ended = false
  return {
    progress(p) {
      if (!ended) screen.draw(progressLines(p, { columns: columns(), rows: stderr.rows ?? 24 }))
    },
    note: (n) => screen.print(`${n.level === 'warn' ? 'warning: ' : ''}${n.text}`),
    summary: (s) => void stdout.write(renderSummary(s)),
    end() {
      ended = true
      screen.end()
    },
  }
}

function logView({ stderr, env }: World, config: Config): View {
  const log = openLog({
    level: env.REKEY_LOG_LEVEL, secrets: secretsOf(config), base: { pipeline: config.pipeline }, write: (line) => void stderr.write(line),
  })
  let last: Logged | null = null
  return {
    progress(p) {
      const now = performance.now()
      if (!isWorthLogging(last, p, now)) return
      last = { at: now, phase: p.phase, parked: p.parked }
      log.info(progressFields(p), progressText(p))
    },
    note({ level, text, ...fields }) {
      log[level](fields, text)
    },
    summary: ({ phase, epoch, commitLsn, endLsn, totals }) =>
      log.info({ event: 'stopped', phase, epoch, commitLsn, endLsn, ...totals }, `stopped: ${totalsText(totals)}`),
    end: () => {},
  }
}
