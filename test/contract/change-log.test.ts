import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { directLog } from '../../connectors/direct/log.ts'
import type { ChangeLog } from '../../src/ports.ts'
import type { Transaction } from '../../src/core/change.ts'
import { transaction } from '../support/core-literals.ts'

/** A transaction that ends at this LSN and counts as so many bytes. */
const at = (lsn: number, bytes = 10): Transaction => transaction([], { commitLsn: BigInt(lsn), endLsn: BigInt(lsn) + 1n, bytes })

async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false
  void promise.then(() => (done = true))
  await sleep(20)
  return done
}

/** Everything that a change log promises, whatever keeps it. `make` gives an empty log with room for about so many bytes. */
function changeLogContract(name: string, make: (options: { readonly maxBytes: number }) => ChangeLog): void {
  describe(name, () => {
    it('gives what was appended, in order and once', async () => {
      const log = make({ maxBytes: 50 })
      const stop = new AbortController()
      const seen: bigint[] = []
      const reading = (async () => {
        for await (const some of log.read(stop.signal)) {
          expect(some.length).toBeGreaterThan(0)
          seen.push(...some.map((t) => t.commitLsn))
          if (seen.length % 7 === 0) await sleep(0)
        }
      })()
      for (let i = 0; i < 300; i += 3) await log.append([at(i, i % 20), at(i + 1, 0), at(i + 2, 7)])
      while (seen.length < 300) await sleep(1)
      stop.abort()
      await reading
      expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => BigInt(i)))
    })

    it('is bounded: append waits while it is full, and goes on when it was read', async () => {
      const log = make({ maxBytes: 100 })
      expect(await settled(log.append([at(1, 99)]))).toBe(true)
      const waiting = log.append([at(2, 1)])
      expect(await settled(waiting)).toBe(false)
      const stop = new AbortController()
      const reader = log.read(stop.signal)[Symbol.asyncIterator]()
      const read: bigint[] = []
      while (read.length < 2) read.push(...(await reader.next()).value.map((t: Transaction) => t.commitLsn))
      expect(await settled(waiting)).toBe(true)
      expect(read).toEqual([1n, 2n])
      expect(await settled(log.append([at(3, 99)]))).toBe(true)
      stop.abort()
    })

    it('takes a transaction that is larger than itself', async () => {
      const log = make({ maxBytes: 10 })
      const appended = log.append([at(1, 1_000)])
      const reader = log.read(new AbortController().signal)[Symbol.asyncIterator]()
      expect((await reader.next()).value.map((t: Transaction) => t.commitLsn)).toEqual([1n])
      await appended
    })

    it('nobody reads ahead: what the consumer did not ask for stays in the log', async () => {
      const log = make({ maxBytes: 30 })
      const reader = log.read(new AbortController().signal)[Symbol.asyncIterator]()
      await log.append([at(1, 5)])
      await reader.next()
      void log.append([at(2, 20)])
      expect(await settled(log.append([at(3, 20)]))).toBe(false)
    })

    it('a reader that waits ends when its signal aborts, and so does one that begins too late', async () => {
      const log = make({ maxBytes: 100 })
      const stop = new AbortController()
      const next = log.read(stop.signal)[Symbol.asyncIterator]().next()
      expect(await settled(next)).toBe(false)
      stop.abort()
      expect((await next).done).toBe(true)
      await log.append([at(1)])
      expect((await log.read(stop.signal)[Symbol.asyncIterator]().next()).done).toBe(true)
    })

    it('the next reader goes on where the last one stopped', async () => {
      const log = make({ maxBytes: 100 })
      const stop = new AbortController()
      const first = log.read(stop.signal)[Symbol.asyncIterator]()
      await log.append([at(1)])
      expect((await first.next()).value[0].commitLsn).toBe(1n)
      stop.abort()
      expect((await first.next()).done).toBe(true)
      await log.append([at(2)])
      const second = await log.read(new AbortController().signal)[Symbol.asyncIterator]().next()
      expect(second.value.map((t: Transaction) => t.commitLsn)).toEqual([2n])
    })

    it('nothing is durable before it was acknowledged, and what is never goes back', async () => {
      const log = make({ maxBytes: 100 })
      expect(log.durable()).toBe(0n)
      await log.append([at(5), at(6)])
      expect(log.durable()).toBe(0n)
      await log.read(new AbortController().signal)[Symbol.asyncIterator]().next()
      expect(log.durable()).toBe(0n)
      log.ack(7n)
      expect(log.durable()).toBe(7n)
      log.ack(6n)
      expect(log.durable()).toBe(7n)
      log.ack(2n ** 63n)
      expect(log.durable()).toBe(2n ** 63n)
    })
  })
}

changeLogContract('the log of a single process', directLog)
