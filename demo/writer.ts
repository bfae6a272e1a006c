import type pg from 'pg'
import { sleep } from '../src/clock.ts'
import type { ObjectStore } from '../src/ports.ts'
import { client, type TextRow } from '../test/support/database.ts'
import type { Random } from '../test/support/random.ts'
import { keepFiles } from './files.ts'

/** One transaction under way. */
export interface Writing {
  readonly random: Random
  /** Resolves with the rows that the statement returns, values as text. */
  query(sql: string, params?: readonly unknown[]): Promise<TextRow[]>
  /** Uploads the files of these rows (path, size, etag), before the transaction commits. */
  keep(rows: readonly TextRow[]): Promise<void>
}

/** Something that users of an application do, in one transaction. `weight` says how often, against the others. */
export interface Deed {
  readonly weight: number
  readonly run: (writing: Writing) => Promise<unknown>
}

export interface Writer {
  /** Counts up while it writes: transactions that were committed, and rows that they changed. */
  readonly written: { transactions: number; rows: number }
  /** Rejects when a transaction fails; never resolves before stop(). */
  readonly ended: Promise<void>
  /** Resolves when the last transaction is done and the connection closed. */
  stop(): Promise<void>
}

/** A statement of a writer that the server refused. */
class WriteFailed extends Error {
  readonly code: string

  constructor(sql: string, cause: unknown) {
    super(`a writer's statement failed: ${(cause as Error).message}\n  ${sql}`, { cause })
    this.code = (cause as { code?: string }).code ?? ''
  }
}

export interface WriterOptions {
  readonly url: string
  readonly random: Random
  readonly perSecond: number
  readonly deeds: readonly Deed[]
  /** Where the application keeps its files. */
  readonly files?: ObjectStore | undefined
}

/** Does one deed after the other, at a steady pace, until stop(). The same seed gives the same sequence of deeds. */
export async function startWriter({ url, random, perSecond, deeds, files }: WriterOptions): Promise<Writer> {
  const session = await client(url)
  const written = { transactions: 0, rows: 0 }
  const stopped = new AbortController()
  const sum = deeds.reduce((n, { weight }) => n + weight, 0)
  const ended = (async () => {
    try {
      for (let due = performance.now(); !stopped.signal.aborted; due = Math.max(due + 1_000 / perSecond, performance.now() - 1_000)) {
        const wait = due - performance.now()
        if (wait > 1) await sleep(wait, stopped.signal)
        written.rows += await commit(session, { random, files, deed: pickDeed(deeds, random.next() * sum) })
        written.transactions++
      }
    } finally {
      await session.end()
    }
  })()
  ended.catch(() => {})
  return {
    written, ended,
    async stop() {
      stopped.abort()
      await ended
    },
  }
}

function pickDeed(deeds: readonly Deed[], at: number): Deed {
  let left = at
  return deeds.find(({ weight }) => (left -= weight) < 0) ?? deeds[0]
}

/** A transaction that was rolled back because of a deadlock or a conflict is done again, as every application must. */
async function commit(session: pg.Client, { random, files, deed }: Pick<WriterOptions, 'random' | 'files'> & { deed: Deed }): Promise<number> {
  for (let tries = 1; ; tries++) {
    let rows = 0
    try {
      await session.query('begin')
      await deed.run({
        random,
        async query(sql, params) {
          const result = await session.query<TextRow>(sql, params ? [...params] : undefined).catch((cause: unknown) => {
            throw new WriteFailed(sql, cause)
          })
          if (/^(insert|update|delete|with)/i.test(sql)) rows += result.rowCount ?? 0
          return result.rows
        },
        async keep(kept) {
          if (files) await keepFiles(files, kept)
        },
      })
      await session.query('commit')
      return rows
    } catch (error) {
      await session.query('rollback').catch(() => {})
      if (tries === 5 || !['40001', '40P01'].includes(error instanceof WriteFailed ? error.code : '')) throw error
    }
  }
}
