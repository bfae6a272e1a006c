#!/usr/bin/env node
import { createInterface } from 'node:readline/promises'
import { look, operate } from '../pipeline/operate.ts'
import { run } from '../pipeline.ts'
import { version } from '../version.ts'
import { cli } from './program.ts'
import type { World } from './session.ts'

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
  serve: async (...of) => (await import('../pipeline/serve.ts')).serve(...of),
  exit: (code) => process.exit(code),
}

// The reader of a pipe may leave early (`rekey status | head`): that is no fault of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await cli(process.argv.slice(2), world)
// A connection that does not close must not keep an answered command alive.
setTimeout(() => process.exit(), 2_000).unref()
