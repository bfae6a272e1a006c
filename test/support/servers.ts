import { afterAll } from 'vitest'
import { startPostgres, type Major, type Server } from './postgres.ts'

interface Roles<T> {
  readonly source: T
  readonly destination: T
}

/** Servers of this worker process by role and major; a second request gets the same one. They stop when the test file is done. */
const running = new Map<string, Promise<Server>>()

afterAll(stopServers)

/** The shared server of a role (any word) and a major. Tests make their own databases in it, and leave its settings alone. */
export function server(major: Major, role = 'source'): Promise<Server> {
  const key = `${role} ${major}`
  const found = running.get(key)
  if (found) return found
  const starting = startPostgres({ major })
  running.set(key, starting)
  return starting
}

/**
 * Two servers, also when both have the same major: a source and a destination are never one system.
 * At the top of a test file: `const { source, destination } = await pair({ source: 14, destination: 18 })`.
 */
export async function pair(majors: Roles<Major>): Promise<Roles<Server>> {
  const [source, destination] = await Promise.all([server(majors.source, 'source'), server(majors.destination, 'destination')])
  return { source, destination }
}

/** Stops them all; the end of the test file does it, too. */
export async function stopServers(): Promise<void> {
  const all = await Promise.allSettled(running.values())
  running.clear()
  await Promise.all(all.filter((one) => one.status === 'fulfilled').map((one) => one.value.stop()))
}
