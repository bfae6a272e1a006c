import { formatCount } from '../src/cli/text.ts'
import { progressLines, progressText } from '../src/cli/progress.ts'
import { summaryOf } from '../src/cli/run.ts'
import { totalsTable } from '../src/cli/render-status.ts'
import { openScreen } from '../src/cli/screen.ts'
import type { Checkpoint } from '../src/core/plan.ts'
import type { Note, Progress, RunEvents } from '../src/progress.ts'

export interface Output {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

/** What the demo tells. */
export interface View extends RunEvents {
  /** A new step: what happens, and why. */
  step(title: string, why: string): void
  say(line?: string): void
  /** A result that is as it should be, or not. */
  verdict(good: boolean, line: string): void
  /** Takes the live lines away; what follows tells more. */
  settle(): void
  readonly paint: Paint
}

export interface Paint {
  bold(text: string): string
  dim(text: string): string
  before(text: string): string
  after(text: string): string
}

const PLAIN_EVERY_MS = 2_000

export function openView(out: Output, env: Readonly<Record<string, string | undefined>>): View {
  const terminal = out.isTTY === true && env['TERM'] !== 'dumb'
  const color = (code: string) => (text: string): string => (terminal && !env['NO_COLOR'] ? `\u001b[${code}m${text}\u001b[0m` : text)
  const [bold, dim, red, green] = [color('1'), color('2'), color('31'), color('32')]
  const live = terminal ? screenView(out) : plainView(out)
  let steps = 0
  const say = (line = ''): void => {
    live.settle()
    out.write(`${line}\n`)
  }
  return {
    say,
    paint: { bold, dim, before: color('33'), after: color('36') },
    settle: live.settle,
    progress: live.progress,
    note: (note: Note) => live.note(note),
    step(title, why) {
      say()
      say(bold(`${++steps}. ${title}`))
      say(dim(`   ${why}`))
    },
    verdict: (good, line) => say(`   ${good ? green('✓') : red('✗')} ${line}`),
  }
}

interface Live extends RunEvents {
  settle(): void
}

/** Redraws bars for the copy, and the table of what became of the rows for the stream. */
function screenView(out: Output): Live {
  const columns = (): number => out.columns ?? 80
  const screen = openScreen((text) => void out.write(text), columns)
  let shown = false
  return {
    progress(p) {
      const rows = out.rows ?? 24
      const lines = progressLines(p, { columns: columns(), rows })
      const table = p.phase === 'stream' ? tableOf(p) : []
      const fits = lines.length + table.length < rows && table.every((line) => line.length < columns())
      shown = true
      screen.draw([...lines, ...(fits ? table : [])])
    },
    note: (note) => screen.print(note.text),
    settle() {
      if (shown) screen.draw([])
      shown = false
      screen.end()
    },
  }
}

function tableOf(p: Progress): string[] {
  const { tables, totals } = summaryOf('', { ...NO_CHECKPOINT, totals: p.totals }, { role: 'all', objects: null })
  return ['', ...totalsTable(tables, totals)]
}

const NO_CHECKPOINT: Checkpoint = {
  epoch: 0, commitLsn: 0n, endLsn: 0n, phase: 'stream', convergeLsn: 0n, totals: {}, mappingDigest: '', sourceSystem: '', sourceTimeline: 0,
}

/** Without a terminal: a line for each table that is copied, and one every two seconds. */
function plainView(out: Output): Live {
  const copied = new Set<string>()
  let at = 0
  return {
    progress(p) {
      for (const t of p.tables) {
        if (p.phase === 'starting' || !t.finished || copied.has(t.table)) continue
        copied.add(t.table)
        out.write(`   copied ${t.table}: ${formatCount(t.copied)} rows\n`)
      }
      if (p.phase === 'starting' || performance.now() - at < PLAIN_EVERY_MS) return
      at = performance.now()
      out.write(`   ${progressText(p)}\n`)
    },
    note: (note) => void out.write(`   ${note.text}\n`),
    settle: () => {},
  }
}
