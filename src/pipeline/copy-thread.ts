import { setMaxListeners } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { copyHere } from './copying.ts'
import { errorOf, failureOf, type Answer, type Asked, type ThreadData } from './copy-threads.ts'
import { openStores } from './stores.ts'

/** A thread that copies objects, as its parent asks: see copy-threads.ts. */
const port = parentPort!
const { objects, rules } = workerData as ThreadData
const stores = await openStores(objects, rules)
const copy = copyHere(stores, objects.memory)
const stop = new AbortController()
setMaxListeners(0, stop.signal)
/** Uploads that have begun and are not noted yet, by the number of their copy. */
const notes = new Map<number, { readonly resolve: () => void; readonly reject: (error: Error) => void }>()

const say = (answer: Answer): void => port.postMessage(answer)

port.on('message', (asked: Asked) => {
  if (asked.ask === 'stop') return stop.abort()
  if (asked.ask === 'noted') {
    const note = notes.get(asked.n)
    notes.delete(asked.n)
    return asked.failure === null ? note?.resolve() : note?.reject(errorOf(asked.failure))
  }
  const { n, order } = asked
  const begun = (upload: Extract<Answer, { answer: 'begun' }>['upload']): Promise<void> => new Promise((resolve, reject) => {
    notes.set(n, { resolve, reject })
    say({ answer: 'begun', n, upload })
  })
  copy(order, begun, stop.signal).then(
    (copied) => say({ answer: 'copied', n, copied, allowed: stores.inFlightLimit() }),
    (error: unknown) => say({ answer: 'failed', n, failure: failureOf(error), allowed: stores.inFlightLimit() }))
})
