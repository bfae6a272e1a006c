/** Bytes that copies hold in memory, all together. */
export interface Budget {
  readonly total: number
  /** Resolves in the order asked. Whoever wants more than there is gets all there is. */
  take(bytes: number): Promise<Held>
}

export interface Held {
  /** Memory of this size, which is not cleared. */
  memory(size: number): Uint8Array
  /** Gives the bytes back. `done`: what memory() gave last, when nobody reads it any more: others use it then. */
  give(done?: Uint8Array): void
}

/**
 * Memory that was used before is used again: fresh memory has to be cleared by the system and is only given back when the collector
 * runs, so that much more would be taken than the budget says.
 */
export function newBudget(total: number): Budget {
  let left = total
  let spare: Uint8Array[] = []
  let spareBytes = 0
  const waiting: { readonly bytes: number; readonly go: () => void }[] = []
  const next = (): void => {
    while (waiting.length > 0 && waiting[0].bytes <= left) {
      const { bytes, go } = waiting.shift()!
      left -= bytes
      go()
    }
  }
  const memory = (size: number): Uint8Array => {
    const found = spare.findIndex((one) => one.length === size)
    if (found >= 0) {
      spareBytes -= size
      return spare.splice(found, 1)[0]
    }
    // What is kept counts, too.
    if (spareBytes > left) [spare, spareBytes] = [[], 0]
    return Buffer.allocUnsafeSlow(size)
  }
  return {
    total,
    async take(wanted) {
      const bytes = Math.min(wanted, total)
      await new Promise<void>((go) => {
        waiting.push({ bytes, go })
        next()
      })
      let made: Uint8Array | null = null
      return {
        memory: (size) => (made = memory(size)),
        give(done) {
          if (done !== undefined && done === made) {
            spare.push(done)
            spareBytes += done.length
          }
          left += bytes
          next()
        },
      }
    },
  }
}
