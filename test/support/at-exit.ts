const actions = new Set<() => void>()
let watching = false

/** Runs a synchronous action when this process exits or is ended by a signal, best effort. Returns a function that takes it back. */
export function atExit(action: () => void): () => void {
  actions.add(action)
  watch()
  return () => void actions.delete(action)
}

function runAll(): void {
  for (const action of actions) {
    try {
      action()
    } catch {
      // The process ends anyhow, and the other actions must run.
    }
  }
  actions.clear()
}

/** Where the program itself listens to a signal, it decides what to do, and our turn comes at its exit. */
function watch(): void {
  if (watching) return
  watching = true
  process.on('exit', runAll)
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const onSignal = (): void => {
      if (process.listenerCount(name) > 1) return
      runAll()
      process.off(name, onSignal)
      process.kill(process.pid, name)
    }
    process.on(name, onSignal)
  }
}
