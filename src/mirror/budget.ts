/** Bytes that copies hold in memory, all together. */
export interface Budget {
  /** Resolves with a function that gives them back, in the order asked. Whoever wants more than there is gets all there is. */
  take(bytes: number): Promise<() => void>
}

export function newBudget(total: number): Budget {
  let left = total
  const waiting: { readonly bytes: number; readonly go: () => void }[] = []
  const next = (): void => {
    while (waiting.length > 0 && waiting[0].bytes <= left) {
      const { bytes, go } = waiting.shift()!
      left -= bytes
      go()
    }
  }
  return {
    async take(wanted) {
      const bytes = Math.min(wanted, total)
      await new Promise<void>((go) => {
        waiting.push({ bytes, go })
        next()
      })
      return () => {
        left += bytes
        next()
      }
    },
  }
}
