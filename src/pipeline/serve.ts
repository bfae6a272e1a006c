import type { Config } from '../config/config.ts'
import { RekeyError } from '../core/errors.ts'
import type { Note } from '../progress.ts'
import { createResolver } from '../id-map/resolver.ts'
import { listen } from '../server/http.ts'
import { resolverRoutes } from '../server/resolver.ts'
import { openLookUp } from './look-up.ts'

export interface ServeEvents {
  note(note: Note): void
  listening(url: string): void
}

/**
 * Turns old ids into new ones over HTTP until the signal aborts. `listening` is called with the URL. Rejects with CONFIG when the
 * configuration has no resolver, names an entity that the mapping does not have, or the pipeline never ran.
 */
export async function serve(config: Config, events: ServeEvents, signal: AbortSignal): Promise<void> {
  const { resolver } = config
  const hint = 'Give rekey.yaml a key `resolver` with `listen` and `urls`.'
  if (!resolver) throw new RekeyError('CONFIG', 'resolver is not configured', { hint })
  const tell = (level: Note['level'], text: string): void => events.note({ level, event: 'idmap', text })
  const { mapping, minters, facts, close } = await openLookUp(config, {
    looked() {}, refilled() {},
    corrected: (entity, keys) => tell('warn', `the copy of the id map was wrong about ${keys} of ${entity}`),
    copyAnswers(yes) {
      if (yes) tell('info', 'the copy of the id map answers')
      else tell('warn', 'the copy of the id map does not answer: the ledger is asked')
    },
  })
  try {
    const unknown = Object.keys(resolver.urls).filter((name) => !mapping.entities.has(name))
    if (unknown.length > 0) throw new RekeyError('CONFIG', `resolver.urls: the mapping has no entity ${unknown.join(', ')}`)
    const { url, close: stop } = await listen(resolver, resolverRoutes(createResolver({ mapping, minters, facts }), resolver.urls))
    try {
      events.listening(url)
      await new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve())))
    } finally {
      await stop()
    }
  } finally {
    await close()
  }
}
