import type { Note } from '../progress.ts'
import { openLog } from '../log.ts'
import { secretsOf, type Session } from './session.ts'

/** Answers over HTTP until a signal. With --json one line says where; without, one line for people, and notes as log lines. */
export async function serveVerb(session: Session): Promise<number> {
  const { world, json } = session
  const config = await session.config()
  const log = openLog({
    level: world.env['REKEY_LOG_LEVEL'], secrets: secretsOf(config), base: { pipeline: config.pipeline },
    write: (line) => void world.stderr.write(line),
  })
  const stop = new AbortController()
  const release = world.onSignal(() => stop.abort())
  try {
    await world.serve(config, {
      listening(url) {
        world.stdout.write(json ? `${JSON.stringify({ type: 'listening', url })}\n` : `Old ids are answered at ${url}\n`)
      },
      note: ({ level, text, ...fields }: Note) => log[level](fields, text),
    }, stop.signal)
    return 0
  } finally {
    release()
  }
}
