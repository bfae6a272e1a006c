import { readFile } from 'node:fs/promises'
import type { Config } from '../../src/config/config.ts'
import { RekeyError } from '../../src/core/errors.ts'
import { run, type Role } from '../../src/pipeline.ts'

/** A bridge as a process: `<file of Config as JSON> <role> [--takeover]`. Ends with the exit code of the command line; the last line says why. */
const config = JSON.parse(await readFile(process.argv[2], 'utf8')) as Config
const abort = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => abort.abort())
const note = (text: string): void => void process.stdout.write(`${text}\n`)
try {
  await run(config, { takeover: process.argv.includes('--takeover'), role: process.argv[3] as Role }, {
    progress: ({ phase, position }) => note(`at ${phase} ${position} rss ${process.memoryUsage().rss}`),
    note: (n) => note(`note ${n.event}: ${n.text}`),
  }, abort.signal)
  note('done')
} catch (error) {
  const known = error instanceof RekeyError
  note(`failed ${known ? error.code : 'DEFECT'} ${known ? error.message : String((error as Error).stack)}`)
  process.exitCode = known ? error.exit : 70
}
