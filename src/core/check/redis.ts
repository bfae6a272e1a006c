import { isLoopback } from '../address.ts'
import { type Finding, reportOf } from './finding.ts'

/** As INFO has it. */
export interface RedisFacts {
  readonly version: string
  readonly policy: string
  readonly role: string
}

/** What is to be known of the server of the id map. Nothing of it stops a run: the ledger answers where the copy cannot. */
export function judgeRedis({ url, facts }: { readonly url: string; readonly facts: RedisFacts | null }): Finding[] {
  const [connectivity, access, capacity] = [reportOf('connectivity'), reportOf('access'), reportOf('capacity')]
  const { hostname, password, protocol } = new URL(url)
  if (facts === null) {
    connectivity.warning({
      code: 'REDIS_AWAY', subject: 'redis', fix: 'Correct redis.url, or start the server.',
      message: 'the server of the id map does not answer, or does not let us in; the ledger is asked instead',
    })
    return connectivity.findings
  }
  if (facts.role !== 'master') {
    const message = `the server is a ${facts.role}: it takes no entries`
    connectivity.warning({ code: 'REDIS_REPLICA', subject: 'redis', message, fix: 'Name the primary in redis.url.' })
  }
  if (facts.policy !== 'noeviction') {
    capacity.warning({
      code: 'REDIS_EVICTION', subject: 'redis',
      message: `the server evicts keys when its memory is full (maxmemory-policy ${facts.policy}): what goes is asked of the ledger`,
      fix: 'CONFIG SET maxmemory-policy noeviction; a server for the id map alone, with room for it.',
    })
  }
  const here = isLoopback({ host: hostname.replace(/^\[|\]$/g, ''), port: 0 })
  if (!here && password === '') {
    access.warning({
      code: 'REDIS_OPEN', subject: 'redis', fix: 'Set a password (requirepass, or an ACL user) and put it into redis.url.',
      message: 'the server lets everybody in who reaches it: they can read the id map, and make it slow by writing into it',
    })
  }
  if (!here && protocol === 'redis:') {
    const fix = 'Use rediss:// where the network is not private.'
    access.info({ code: 'REDIS_PLAIN', subject: 'redis', message: 'ids and the password travel in the clear', fix })
  }
  return [...connectivity.findings, ...access.findings, ...capacity.findings]
}
