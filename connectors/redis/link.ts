import type { ChainableCommander, Redis } from 'ioredis'
import { openClient, type ClientOptions } from './client.ts'

/** Fields that are on their way at most; what comes beyond them is written later or not at all. */
export const MOST_WRITING = 100_000

/** done: all of it was taken. refused: the server answered and took not all (it is full). lost: it did not answer. */
export type Sent = 'done' | 'refused' | 'lost'

/** The connection, how much is on its way, and whether what is read on it can be told on. */
export interface Link {
  readonly client: Redis
  /** Nothing can be sent now. */
  busy(): boolean
  sure(): boolean
  become(sure: boolean): void
  /** For what rejected: when no answer came, others wait behind it, so a new connection is made, and the state is asked again. */
  failed(error: Error): void
  send(commands: ChainableCommander, fields: number): Promise<Sent>
  /** Resolves when what was sent so far was answered, or will not be. */
  flushed(): Promise<void>
}

export function openLink(options: ClientOptions, onSure?: (sure: boolean) => void): Link {
  const client = openClient(options)
  let sure = false
  let writing = 0
  let last: Promise<unknown> = Promise.resolve()
  const become = (now: boolean): void => {
    if (sure === now) return
    sure = now
    onSure?.(now)
  }
  const failed = (error: Error): void => {
    become(false)
    if (error.name !== 'ReplyError' && client.status === 'ready') client.disconnect(true)
  }
  client.on('close', () => become(false))
  return {
    client, become, failed,
    busy: () => client.status !== 'ready' || writing > MOST_WRITING,
    sure: () => sure,
    async send(commands, fields) {
      writing += fields
      const done = commands.exec().then((results) => results?.find(([error]) => error !== null)?.[0] ?? null, (error: Error) => error)
      last = done
      const error = await done
      writing -= fields
      if (error === null) return 'done'
      if (error.name === 'ReplyError') return 'refused'
      failed(error)
      return 'lost'
    },
    flushed: () => last.then(() => {}),
  }
}
