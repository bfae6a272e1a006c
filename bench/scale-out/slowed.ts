const PERIOD_MS = 40

/**
 * Gives processes this share of a core each, as machines of their own would have it, however many there are: they are stopped for the rest of
 * every 40 ms, one after the other so that they do not run at the same moment. `end()` lets them run freely.
 */
export function slowed(pids: readonly number[], share: number): { end(): void } {
  let ended = false
  const say = (pid: number, signal: 'SIGSTOP' | 'SIGCONT'): void => {
    try {
      process.kill(pid, signal)
    } catch {
      // It has ended, which who watches it tells.
    }
  }
  const turn = (pid: number): void => {
    if (ended) return
    say(pid, 'SIGCONT')
    setTimeout(() => {
      if (!ended) say(pid, 'SIGSTOP')
    }, PERIOD_MS * share)
    setTimeout(() => turn(pid), PERIOD_MS)
  }
  pids.forEach((pid, i) => setTimeout(() => turn(pid), (i * PERIOD_MS) / pids.length))
  return {
    end() {
      ended = true
      for (const pid of pids) say(pid, 'SIGCONT')
    },
  }
}
