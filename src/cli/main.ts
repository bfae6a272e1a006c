#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath } from 'node:url'
import { look, operate } from '../pipeline/operate.ts'
import { run } from '../pipeline.ts'
import { cli } from './program.ts'
import type { World } from './session.ts'

/** The version of the nearest package.json: the same from the sources and from dist/. */
function version(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, 'package.json')
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
    if (dirname(folder) === folder) return 'unknown'
  }
}

async function ask(question: string): Promise<string | null> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return null
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-D and Ctrl-C are an answer, too: no.
  const closed = new Promise<string>((resolve) => reader.once('close', () => resolve('')))
  try {
    return await Promise.race([reader.question(question), closed])
  } finally {
    reader.close()
  }
}

function onSignal(heard: () => void): () => void {
  process.on('SIGINT', heard).on('SIGTERM', heard)
  return () => void process.off('SIGINT', heard).off('SIGTERM', heard)
}

const world: World = {
  stdout: process.stdout, stderr: process.stderr, env: process.env, version: version(), ask, onSignal, run, operate, look,
  exit: (code) => process.exit(code),
}

// The reader of a pipe may leave early (`rekey status | head`): that is no fault of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await cli(process.argv.slice(2), world)
// A connection that does not close must not keep an answered command alive.
setTimeout(() => process.exit(), 2_000).unref()
